"""replay(): a trace as a workload, with text of the lengths that the trace has."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass

from redline.bench.traces.mooncake import BLOCK_TOKENS
from redline.bench.traces.trace import Trace
from redline.bench.traces.traced import Traced
from redline.bench.workloads import Request, Workload
from redline.bench.workloads.text import Encoder, Pages, cut_by, prose
from redline.errors import ConfigError

MARGIN = 32  # tokens that a chat template may add
LEAST_OUTPUT = 2


def replay(
    trace: Trace,
    encoder: Encoder | None = None,
    seed: int = 0,
    *,
    repeat: int = 0,
    scale: float = 1.0,
    max_tokens: int | None = None,
) -> Workload:
    """Prompts and answers have the trace's lengths times `scale`; what exceeds `max_tokens` is cut to it.

    Parts of prompts that the trace says are equal are equal; the others are new, in each repeat. Large
    models' traffic must be scaled to a small model, and the summary says by how much. Raises ConfigError.
    """
    if not 0 < scale < float("inf"):
        raise ConfigError(f"scale is {scale}; it must be above 0")
    writer = _Writer(encoder, seed, repeat, scale, max_tokens)
    sessions = tuple((writer.request(traced),) for traced in trace.requests)
    scaled = "" if scale == 1 else f", lengths times {scale:g}"
    cut = f", {writer.num_cut} cut to {max_tokens} tokens" if writer.num_cut else ""
    times = tuple(traced.at_s for traced in trace.requests)
    return Workload(f"{trace.kind} trace", f"{trace.describe()}{scaled}{cut}", sessions, times)


@dataclass
class _Writer:
    encoder: Encoder | None
    seed: int
    repeat: int
    scale: float
    max_tokens: int | None
    num_cut: int = 0

    def __post_init__(self) -> None:
        self._cut = cut_by(self.encoder)
        self._pages = Pages(*prose(), self._cut, f"trace/{self.seed}/{self.repeat}")
        self._blocks: dict[int, str] = {}

    def request(self, traced: Traced) -> Request:
        output = max(LEAST_OUTPUT, round(traced.output_tokens * self.scale))
        tokens = max(1, round(traced.input_tokens * self.scale))
        if self.max_tokens is not None and tokens + output + MARGIN > self.max_tokens:
            self.num_cut += 1
            output = min(output, self.max_tokens // 4)
            tokens = min(tokens, self.max_tokens - output - MARGIN)
        text = self._of_blocks(traced.blocks, tokens) if traced.blocks else self._pages.next(tokens)
        return Request(({"role": "user", "content": text},), output)

    def _of_blocks(self, blocks: tuple[int, ...], tokens: int) -> str:
        """Block i ends where i + 1 whole blocks end, times the scale: rounding does not add up."""
        parts, start = [], 0
        for count, block in enumerate(blocks, 1):
            end = min(tokens, round(BLOCK_TOKENS * self.scale * count))
            if end > start:
                parts.append(self._cut(self._block(block), end - start))
            start = end
        return "".join(parts)

    def _block(self, block: int) -> str:
        """The same text for the same name, long enough; the name is in it, for two pages may be one."""
        if block not in self._blocks:
            text, starts = prose()
            place = random.Random(f"{self.seed}/{self.repeat}/{block}").randrange(len(starts))
            page = Pages(text, starts[place : place + 1], self._cut, "")
            self._blocks[block] = f"[{block}] {page.next(math.ceil(BLOCK_TOKENS * self.scale) + 1)}"
        return self._blocks[block]
