"""profile: forward passes of a model, op by op, and how far each part is from the roofline."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from redline import env
from redline.bench.ceiling import Ceiling
from redline.bench.footprint import model_footprint
from redline.bench.profile.calls import Call, Recorder
from redline.bench.profile.phase import Phase
from redline.cache.paged import PagedKV
from redline.config.engine import EngineConfig
from redline.config.resolve import resolve_runtime
from redline.engine.kind import kind_of
from redline.engine.memory import hardware
from redline.layers.batch import Batch
from redline.models.decoder import Decoder
from redline.models.load_weights import load_weights
from redline.models.spec import ModelSpec
from redline.ops.memory import keep_freed_memory
from redline.ops.registry import backend

BLOCK_SIZE = 16
WARM_UPS = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """All calls of one part of the model in one forward pass: seconds, bytes, multiply-adds, together.

    `least_s`: what the ceiling of the machine allows; `bound`: what that is made of.
    """

    name: str
    calls: int
    seconds: float
    bytes: int
    macs: int
    least_s: float
    bound: str

    @property
    def lost_s(self) -> float:
        """What is left to gain."""
        return max(0.0, self.seconds - self.least_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """One phase. `seconds` is a whole pass, `calls` its calls in order, `parts` the same by name."""

    phase: Phase
    seconds: float
    calls: list[Call]
    parts: list[Part]

    @property
    def between_s(self) -> float:
        """Python between the ops, which replaying a decode step saves."""
        return max(0.0, self.seconds - sum(call.seconds for call in self.calls))


class Profiles(NamedTuple):
    """The phases that are whole, and the ceiling they are held to."""

    profiles: list[Profile]
    ceiling: Ceiling
    interrupted: bool = False  # by Ctrl-C, before the last phase was whole


def profile_model(
    config: EngineConfig, path: Path, phases: Sequence[Phase], repeats: int, tell: Callable[[str], None]
) -> Profiles:
    """Load the model at `path` as `config` says and run each phase. Raises ConfigError or ModelError.

    KeyboardInterrupt ends it with the phases so far, but before there is a ceiling there is nothing to give.
    """
    runtime = resolve_runtime(config, hardware(), env.num_threads())
    recorder = Recorder(backend(runtime.backend))
    ops = kind_of(config)(recorder.ops)
    keep_freed_memory()
    decoder = load_weights(path, ops, runtime.compute)
    recorder.know(decoder)
    tell("measuring the machine's ceilings")
    step_bytes = model_footprint(decoder, kv_bytes=0).step_bytes(0)
    ceiling = Ceiling.measure(runtime.threads, env.isa() or "native", step_bytes)
    found: list[Profile] = []
    try:
        for phase in phases:
            tell(phase.name)
            found.append(_profile(decoder, recorder, phase, runtime.kv_format, ceiling, repeats))
    except KeyboardInterrupt:
        return Profiles(found, ceiling, interrupted=True)
    return Profiles(found, ceiling)


def _profile(
    decoder: Decoder, recorder: Recorder, phase: Phase, kv_format: str, ceiling: Ceiling, repeats: int
) -> Profile:
    """The median time of each call over `repeats` passes of random tokens."""
    spec, blocks = decoder.spec, -(-phase.context // BLOCK_SIZE)
    counts = [blocks * phase.batch] * len(spec.windows)
    sizes = (BLOCK_SIZE, spec.num_kv_heads, spec.head_dim)
    kv = PagedKV(spec.group_of_layer, counts, *sizes, kv_format, spec.kv_owners)
    recorder.kv_bytes = kv.token_bytes // spec.num_kv_layers
    before = phase.context - phase.tokens
    if before:
        decoder.forward(_batch(phase.batch, before, before, blocks, spec), kv)
    batch = _batch(phase.batch, phase.tokens, phase.context, blocks, spec)
    passes, seconds = [], []
    for _ in range(WARM_UPS + repeats):
        recorder.calls.clear()
        start_s = time.perf_counter()
        decoder.forward(batch, kv)
        seconds.append(time.perf_counter() - start_s)
        passes.append(list(recorder.calls))
    calls = _medians(passes[WARM_UPS:])
    whole_s = statistics.median(seconds[WARM_UPS:])
    return Profile(phase=phase, seconds=whole_s, calls=calls, parts=parts(calls, Roof(ceiling)))


def _medians(passes: Sequence[Sequence[Call]]) -> list[Call]:
    """Calls come in the same order in every pass."""
    assert len({len(each) for each in passes}) == 1, [len(each) for each in passes]
    return [
        Call(
            part=same[0].part,
            layer=same[0].layer,
            seconds=statistics.median(each.seconds for each in same),
            bytes=same[0].bytes,
            macs=same[0].macs,
            kind=same[0].kind,
        )
        for same in zip(*passes, strict=True)
    ]


class Roof:
    """The least time of a call: all its bytes at the bandwidth that a step has, all its multiply-adds."""

    def __init__(self, ceiling: Ceiling) -> None:
        self._read_bytes = ceiling.read_bytes
        self._macs = {"int8": ceiling.int8_macs, "float": ceiling.float_macs, "f32": ceiling.macs["f32"]}

    def seconds(self, call: Call) -> tuple[float, str]:
        """And what it is spent on."""
        memory_s, compute_s = call.bytes / self._read_bytes, call.macs / self._macs[call.kind]
        return max(memory_s, compute_s), "memory" if memory_s >= compute_s else "compute"


def parts(calls: Sequence[Call], roof: Roof) -> list[Part]:
    """By name, the one that loses most first."""
    found = []
    by_name: dict[str, list[Call]] = {}
    for call in calls:
        by_name.setdefault(call.part, []).append(call)
    for name, same in by_name.items():
        least = [roof.seconds(call) for call in same]
        found.append(
            Part(
                name=name,
                calls=len(same),
                seconds=sum(call.seconds for call in same),
                bytes=sum(call.bytes for call in same),
                macs=sum(call.macs for call in same),
                least_s=sum(seconds for seconds, _ in least),
                bound=max(least)[1],
            )
        )
    return sorted(found, key=lambda part: -part.lost_s)


def _batch(sequences: int, tokens: int, context: int, blocks: int, spec: ModelSpec) -> Batch:
    """Each sequence computes the last `tokens` of its `context`, in `blocks` blocks of its own."""
    positions_ST = np.tile(np.arange(context - tokens, context), (sequences, 1))
    first_S1 = np.arange(sequences)[:, None] * blocks * BLOCK_SIZE
    starts_S1 = np.arange(0, (sequences + 1) * tokens, tokens, dtype=np.int32)
    tables_SB = np.arange(sequences * blocks, dtype=np.int32).reshape(sequences, blocks)
    groups = len(spec.windows)
    return Batch(
        token_ids_T=np.random.default_rng(0).integers(0, spec.vocab_size, sequences * tokens, dtype=np.int32),
        positions_T=positions_ST.reshape(-1).astype(np.int32),
        slots_GT=((first_S1 + positions_ST).reshape(-1).astype(np.int32),) * groups,
        block_tables_GSB=(tables_SB,) * groups,
        query_start_S1=starts_S1,
        context_lens_S=np.full(sequences, context, np.int32),
        logit_rows_R=starts_S1[1:] - 1,
    )
