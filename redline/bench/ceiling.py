"""The ceilings of the machine: how fast its threads read memory and multiply, with the kernels' instructions.

Each number is the best of several passes over several ways (csrc/cpu/peak.cpp): a ceiling that something else
exceeds is none. Reading depends on the size of the buffer, because a large last-level cache keeps part of it
from one pass to the next, as it does with the weights of a small model from one step to the next.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, Self

import numpy as np

from redline import _kernels
from redline.bench.cases import Part
from redline.bench.footprint import Footprint
from redline.errors import ConfigError
from redline.ops.threads import set_num_threads

BUFFER_BYTES = 2**30  # beyond any last-level cache, and what a machine for language models has to spare
WAYS = tuple((streams, ahead) for streams in (2, 4) for ahead in (0, 2048, 4096))
KINDS = {
    "f32": 0,
    "int8": 1,
    "int8_tiles": 2,
    "bf16_tiles": 3,
}  # of multiply-adds, as the kernel numbers them
PASS_S = 0.01  # of multiply-adds: long beside waking the threads


@dataclass(frozen=True, slots=True, kw_only=True)
class Ceiling:
    """What `threads` threads can do at most on this machine with one instruction set. Rates per second."""

    threads: int
    isa: str
    read_bytes: float  # from a buffer of `buffer_bytes`: as large as what is read again and again
    buffer_bytes: int
    memory_read_bytes: float  # from one that no cache holds
    macs: dict[str, float]  # multiply-adds by kind; the instruction set may lack some

    @classmethod
    def measure(cls, threads: int, isa: str, buffer_bytes: int) -> Self:
        """With `isa`, or the widest one ("native"). Leaves the kernels as they were but for the threads."""
        set_num_threads(threads)
        before = _kernels.isa()
        if not _kernels.select_isa("auto" if isa == "native" else isa):
            raise ConfigError(f"this machine lacks the instruction set {isa}")
        try:
            return cls(
                threads=threads,
                isa=_kernels.isa(),
                read_bytes=read_bandwidth(threads, num_bytes=buffer_bytes),
                buffer_bytes=buffer_bytes,
                memory_read_bytes=read_bandwidth(threads, num_bytes=BUFFER_BYTES),
                macs={kind: rate for kind in KINDS if (rate := multiply_adds(threads, kind)) is not None},
            )
        finally:
            _kernels.select_isa(before)

    @property
    def int8_macs(self) -> float:
        """The faster of the two ways to multiply 8-bit integers."""
        return max(self.macs["int8"], self.macs.get("int8_tiles", 0.0))

    @property
    def float_macs(self) -> float:
        """The fastest multiply-adds of floats, those of bf16 included."""
        return max(self.macs["f32"], self.macs.get("bf16_tiles", 0.0))

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def part_ceiling(part: Part, model: Footprint, ceiling: Ceiling) -> float | None:
    """Tokens per second that nothing can exceed which reads these weights; None for a whole load.

    A step takes at least as long as reading its bytes, and at least as long as its multiply-adds.
    """
    if part.metric == "total":
        return None
    batch, prompt = part.batch, part.prompt_tokens
    if part.metric == "prefill":
        tokens, context = batch * prompt, 0
        macs = model.step_macs(tokens, batch, batch * prompt * (prompt + 1) // 2)
    else:
        tokens, context = batch, batch * (prompt + part.output_tokens // 2)
        macs = model.step_macs(batch, batch, context)
    step_s = max(model.step_bytes(context) / ceiling.read_bytes, macs / ceiling.int8_macs)
    return tokens / step_s


def read_bandwidth(num_threads: int, *, num_bytes: int = BUFFER_BYTES, repeats: int = 2) -> float:
    """Bytes per second that the threads read from a buffer of `num_bytes`: the best of all passes."""
    set_num_threads(num_threads)
    buffer = np.ones(num_bytes, np.uint8)
    return num_bytes / min(
        best_seconds(partial(_kernels.peak_read, buffer, streams, ahead), repeats) for streams, ahead in WAYS
    )


def multiply_adds(num_threads: int, kind: str, *, repeats: int = 5) -> float | None:
    """Multiply-adds per second of one of KINDS, from registers; None where the instruction set has none."""
    set_num_threads(num_threads)
    work = partial(_kernels.peak_macs, KINDS[kind])
    wanted = 1 << 22
    if not work(wanted):
        return None
    while (seconds := _seconds(partial(work, wanted))) < PASS_S:
        wanted = int(wanted * max(2.0, 1.2 * PASS_S / seconds))
    return float(work(wanted) / best_seconds(partial(work, wanted), repeats))


def best_seconds(work: Callable[[], object], repeats: int) -> float:
    """The shortest of so many times."""
    return min(_seconds(work) for _ in range(repeats))


def _seconds(work: Callable[[], object]) -> float:
    start_s = time.perf_counter()
    work()
    return time.perf_counter() - start_s
