"""draft_depth(): for how many sequences, and how far, drafting pays when drafts themselves cost time.

As draft_lengths() does for drafts that cost nothing, this looks for the most tokens per second to be
expected. But a model that drafts costs a pass for each token, with all sequences in it, so the drafts of all
who get any are equally long, and the cost of those passes is part of the sum (Leviathan et al., 2023, section
3.3, with measured costs and chances in place of constants).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import NamedTuple

from redline.decoding.speculative.lengths import WORTHWHILE

Cost = Callable[[int], float]  # seconds, by rows


class Depth(NamedTuple):
    """Draft `num_tokens` for each of the `num_seqs` sequences whose drafts are the likeliest to be right."""

    num_seqs: int
    num_tokens: int


NO_DEPTH = Depth(0, 0)


def draft_depth(
    chances: Sequence[float], most: int, num_rows: int, max_rows: int, step_cost: Cost, draft_cost: Cost
) -> Depth:
    """What gives the most tokens per second beside one row of each of `num_rows` sequences.

    `chances`: of those that can be drafted for, best first, that a token is right if those before it are.
    `step_cost`: of a step of the model, which should have at most `max_rows`; `draft_cost`: of a pass of what
    drafts, by sequences.
    """
    best_rate, best = WORTHWHILE * num_rows / step_cost(num_rows), NO_DEPTH
    room = max_rows - num_rows
    expected = [float(num_rows)] * len(
        chances
    )  # tokens of a step that drafts for the first 1, 2, ... of them
    for num_tokens in range(1, min(most, room) + 1):
        gained = accumulate(chance**num_tokens for chance in chances)
        expected = [before + more for before, more in zip(expected, gained, strict=True)]
        for num_seqs in range(1, min(len(chances), room // num_tokens) + 1):
            seconds = step_cost(num_rows + num_seqs * num_tokens) + num_tokens * draft_cost(num_seqs)
            rate = expected[num_seqs - 1] / seconds
            if rate > best_rate:
                best_rate, best = rate, Depth(num_seqs, num_tokens)
    return best
