"""open_model(): all that is known of a model before its weights are read."""

from __future__ import annotations

from dataclasses import dataclass, replace

from redline import env
from redline.config.engine import EngineConfig, parse_bytes
from redline.config.memory import RESERVE_BYTES, MemoryBudget
from redline.config.resolve import Hardware, RuntimeConfig, resolve_runtime
from redline.engine.activations import Kind
from redline.engine.budget import PlannedMemory, plan_memory
from redline.engine.contiguous import contiguous
from redline.engine.kind import kind_of
from redline.engine.memory import hardware, rss_bytes
from redline.engine.speculating import SpeculationPlan, plan_speculation
from redline.models.decoder import Decoder
from redline.models.load import ModelFiles, open_files
from redline.models.pull import resolve_model
from redline.models.sized_weights import Sizes
from redline.ops.registry import Backend, backend


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenedFiles:
    """A model's files and what will run them. `process_bytes`: held when they had been opened."""

    config: EngineConfig  # with the block size that it comes to
    runtime: RuntimeConfig
    kind: Kind
    ops: Backend
    files: ModelFiles
    sized: tuple[Decoder, Sizes]
    process_bytes: int
    speculation: SpeculationPlan

    def plan(self, config: EngineConfig, free_bytes: int | None = None) -> PlannedMemory:
        """What it will hold where `free_bytes` are free (None: all that is). Raises CapacityError."""
        machine = hardware() if free_bytes is None else replace(hardware(), free_bytes=free_bytes)
        limited = _limited(config, machine)
        drafting = self.speculation.memory
        return plan_memory(config, self.runtime, self.sized, self.kind, limited, self.process_bytes, drafting)


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """What a model will be once it is loaded."""

    memory: MemoryBudget
    name: str
    max_context: int
    hidden_size: int
    vocab_size: int


def open_model(config: EngineConfig) -> OpenedFiles:
    """Open the files. Raises ConfigError or ModelError."""
    runtime = resolve_runtime(config, hardware(), env.num_threads())
    kind = kind_of(config)
    ops = kind(backend(runtime.backend))
    files = open_files(resolve_model(config.model))
    sized = files.size(ops, runtime.compute)
    if not config.paged_cache:
        config = contiguous(config, sized[0].spec.max_context)
    process_bytes = rss_bytes()  # before the files of a draft model are read, most of which is given up again
    return OpenedFiles(
        config=config,
        runtime=runtime,
        kind=kind,
        ops=ops,
        files=files,
        sized=sized,
        process_bytes=process_bytes,
        speculation=plan_speculation(config, runtime, files, sized[0], ops, kind),
    )


def predict(config: EngineConfig, free_bytes: int) -> Prediction:
    """What the model would be and take, were `free_bytes` free; reads no weights.

    Raises ConfigError or ModelError, and CapacityError, with the arithmetic, when it does not fit.
    """
    opened = open_model(config)
    planned = opened.plan(opened.config, free_bytes)
    spec = opened.sized[0].spec
    return Prediction(
        memory=planned.budget,
        name=opened.files.name,
        max_context=planned.cache.max_context,
        hidden_size=spec.hidden_size,
        vocab_size=spec.vocab_size,
    )


def _limited(config: EngineConfig, machine: Hardware) -> Hardware:
    """The machine as one engine may use it; the reserve is what others have beside it."""
    if config.memory is None:
        return machine
    most = parse_bytes("memory", config.memory) + RESERVE_BYTES
    return replace(machine, free_bytes=min(machine.free_bytes, most))
