"""EngineConfig: every switch of an engine, as the user states it. "auto" is settled by resolve()."""

from __future__ import annotations

import re
from dataclasses import dataclass, fields
from difflib import get_close_matches
from typing import Any, Literal, Self

from redline.config.checks import check_count, check_number
from redline.config.speculative import SpeculativeConfig
from redline.errors import ConfigError

_UNITS = {"": 1, "kib": 2**10, "mib": 2**20, "gib": 2**30, "kb": 10**3, "mb": 10**6, "gb": 10**9}

CHOICES: dict[str, tuple[str, ...]] = {
    "device": ("auto", "cpu"),
    "backend": ("auto", "cpu", "reference"),
    "batching": ("continuous", "static", "dynamic"),
    "order": ("fcfs", "priority", "shortest", "longest_prefix", "fair", "deadline"),
    "kv_format": ("auto", "f32", "f16", "bf16", "int8", "fp8", "int4"),
    "compute": ("auto", "int8", "float"),
}
# Blocks come and go one by one, which takes a paged cache.
_NEED_BLOCKS = tuple(
    (name, needed) for name in ("offload_memory", "cache_dir") for needed in ("kv_cache", "paged_cache")
)
SWITCHES = (
    "prefill_first", "kv_cache", "paged_cache", "prefix_cache", "flash_attention", "fusion", "graph_replay",
    "jump_ahead",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True, slots=True)
class EngineConfig:
    """What to run and with which techniques. None switches a technique off.

    Raises ConfigError when a value is out of range; the message names the field and what is accepted.
    """

    model: str
    max_context: int | None = None  # tokens; None: what the model was trained for
    max_batch: int = 64  # sequences that run at once
    max_waiting: int = 1024  # sequences that may queue behind them
    threads: int | None = None  # None: REDLINE_THREADS, else all cores
    device: Literal["auto", "cpu"] = "auto"
    backend: Literal["auto", "cpu", "reference"] = "auto"
    batching: Literal["continuous", "static", "dynamic"] = "continuous"
    batch_window: float | None = (
        None  # seconds that a closed batch waits for more; None: by the kind of batching
    )
    order: Literal["fcfs", "priority", "shortest", "longest_prefix", "fair", "deadline"] = "fcfs"
    kv_cache: bool = True  # off: each token computes all tokens before it again
    paged_cache: bool = True  # off: each sequence reserves the whole context, in one piece
    prefix_cache: bool = True
    chunked_prefill: int | None = 512  # token budget of one step; None: whole prompts
    step_time: float | None = None  # seconds that a step with prompts should take while the batch has room
    prompt_share: float = 0.25  # of that budget: the most for one prompt while others want some
    prefill_first: bool = False  # prompts before decodes
    kv_format: Literal["auto", "f32", "f16", "bf16", "int8", "fp8", "int4"] = "auto"
    kv_memory: int | str = "auto"  # bytes, "512MiB", "2GiB" or "auto"
    memory: int | str | None = None  # the most for weights, K/V cache and all else; None: what is free
    offload_memory: int | str | None = (
        None  # host memory for blocks that leave the cache; None: they are lost
    )
    cache_dir: str | None = None  # folder where blocks outlive the process; None: they do not
    cache_dir_size: int | str = "4GiB"  # of all files in it
    block_size: int = 16  # tokens of one K/V block
    compute: Literal["auto", "int8", "float"] = "auto"  # float: dequantised weights, float kernels
    flash_attention: bool = True  # off: the whole matrix of scores is made, with NumPy
    fusion: bool = True  # norms, gates and sums in the passes of the matmuls
    graph_replay: bool = True  # the ops of a decode step are recorded once and replayed
    speculative: SpeculativeConfig | dict[str, Any] | str | None = None  # tokens are guessed ahead; None: not
    jump_ahead: bool = True  # tokens that a grammar forces skip the model
    trace_events: int | None = 65_536  # latest decisions of the scheduler that are kept; None: none

    def __post_init__(self) -> None:
        if not isinstance(self.model, str) or not self.model:
            raise ConfigError(f"model is {self.model!r}; it must be an alias, a path or a hub repository")
        for name, choices in CHOICES.items():
            if getattr(self, name) not in choices:
                raise ConfigError(
                    f"{name} is {getattr(self, name)!r}; it must be one of {', '.join(choices)}"
                )
        for name in SWITCHES:
            if not isinstance(getattr(self, name), bool):
                raise ConfigError(f"{name} is {getattr(self, name)!r}; it must be true or false")
        self._check_counts()
        check_number("prompt_share", self.prompt_share, 0.001, 1.0)
        if self.step_time is not None:
            check_number("step_time", self.step_time, 0.0001, 3600.0)
            if self.chunked_prefill is None:
                raise ConfigError(
                    f"step_time is {self.step_time} and chunked_prefill is None; steps end in time only if "
                    "prompts are cut: set chunked_prefill, or leave step_time out"
                )
        if self.batch_window is not None:
            check_number("batch_window", self.batch_window, 0.0, 3600.0)
        if self.kv_memory != "auto":
            parse_bytes("kv_memory", self.kv_memory)
        if self.memory is not None:
            parse_bytes("memory", self.memory)
        self._check_offload()
        self._check_kv_cache()
        object.__setattr__(self, "speculative", SpeculativeConfig.parse(self.speculative))

    def _check_counts(self) -> None:
        check_count("max_context", self.max_context, 2, 2**24, optional=True)
        check_count("max_batch", self.max_batch, 1, 4096)
        check_count("max_waiting", self.max_waiting, 1, 2**24)
        check_count("threads", self.threads, 1, 1024, optional=True)
        check_count("chunked_prefill", self.chunked_prefill, 1, 2**24, optional=True)
        check_count("block_size", self.block_size, 1, 2**24)
        check_count("trace_events", self.trace_events, 1, 2**24, optional=True)

    def _check_offload(self) -> None:
        if self.offload_memory is not None:
            parse_bytes("offload_memory", self.offload_memory)
        parse_bytes("cache_dir_size", self.cache_dir_size)
        if self.cache_dir is not None and (not isinstance(self.cache_dir, str) or not self.cache_dir):
            raise ConfigError(f"cache_dir is {self.cache_dir!r}; it must be the path of a folder, or None")
        for name in ("offload_memory", "cache_dir"):
            if getattr(self, name) is not None and not self.prefix_cache:
                raise ConfigError(
                    f"{name} is set and prefix_cache is off; blocks come back through the prefix cache: "
                    f"switch it on or leave {name} out"
                )

    def _check_kv_cache(self) -> None:
        """What rests on a cache, or on blocks of it, is refused where there is none."""
        for name, needed in (("speculative", "kv_cache"), *_NEED_BLOCKS):
            if getattr(self, name) is not None and not getattr(self, needed):
                raise ConfigError(
                    f"{name} is set and {needed} is off; {name} needs it: switch it on or leave {name} out"
                )

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """Build from plain keys, for example of a file. Unknown keys raise, with a suggestion."""
        known = [field.name for field in fields(cls)]
        for key in values:
            if key not in known:
                close = get_close_matches(key, known, n=1)
                hint = f"; did you mean {close[0]!r}?" if close else f"; known: {', '.join(known)}"
                raise ConfigError(f"unknown engine option {key!r}{hint}")
        if "model" not in values:
            raise ConfigError("model is missing; name an alias, a path or a hub repository")
        return cls(**values)


def parse_bytes(name: str, value: int | str) -> int:
    """Bytes from an integer or from text such as "512MiB" or "2GB". Raises ConfigError."""
    if isinstance(value, int) and not isinstance(value, bool):
        number = value
    else:
        match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([a-zA-Z]*)\s*", str(value)[:40])
        if match is None or match[2].lower() not in _UNITS:
            raise ConfigError(f'{name} is {value!r}; it must be bytes, or a size such as "512MiB" or "2GiB"')
        number = int(float(match[1]) * _UNITS[match[2].lower()])
    if not 2**20 <= number <= 2**50:
        raise ConfigError(f"{name} is {number} bytes; it must be between 1 MiB and 1 PiB")
    return number
