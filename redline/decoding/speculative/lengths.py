"""draft_lengths(): how much of each draft of a step is worth computing.

The j-th token of a draft is kept with the chance p^j, where p is how often its proposer was right lately.
Tokens of all drafts compete for the rows of a step, the likeliest first, and as many are taken as give
the most expected tokens per second at the measured cost of a step. With no rows to spare, or nothing
likely, that is none: then a step is what it is without speculation.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

WORTHWHILE = 1.02  # times the rate without drafts: what is expected is not certain


class Draft(NamedTuple):
    """How many tokens were proposed, and the chance of each to be right if those before it are."""

    length: int
    chance: float


def draft_lengths(
    drafts: Sequence[Draft], num_rows: int, max_rows: int, cost: Callable[[int], float]
) -> list[int]:
    """The tokens to compute of each draft, beside one row of each of `num_rows` sequences.

    `cost`: seconds of a step by its rows, of which there should be at most `max_rows`.
    """
    ranked = sorted(
        (
            (draft.chance**place, index)
            for index, draft in enumerate(drafts)
            for place in range(1, draft.length + 1)
        ),
        reverse=True,
    )
    expected, best, num_taken = float(num_rows), WORTHWHILE * num_rows / cost(num_rows), 0
    for number, (chance, _) in enumerate(ranked[: max(0, max_rows - num_rows)], 1):
        expected += chance
        rate = expected / cost(num_rows + number)
        if rate > best:
            best, num_taken = rate, number
    lengths = [0] * len(drafts)
    for _, index in ranked[:num_taken]:
        lengths[index] += 1
    return lengths
