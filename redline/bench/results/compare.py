"""compare(): do two sets of runs differ by more than chance?

An exact permutation test: were the two sets alike, every way to deal their runs into two hands would be as
likely as the one that was seen. p is the share of the ways that part the means at least as far. It asks
nothing of the distribution, only that runs were made alike and do not drift. With fewer than four runs on
each side no outcome can reach p = 0.05, and then it says so instead of guessing.
"""

from __future__ import annotations

import itertools
import math
import random
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

LEVEL = 0.05
MOST_WAYS = 20_000  # beyond, as many are drawn at random
ROUNDING = 1e-9  # differences that only rounding makes

BETTER, WORSE, DIFFERENT = "better", "worse", "different"
SAME, UNKNOWN = "no difference shown", "too few runs to tell"
SHOWN = 6  # titles in a sentence
# Of what two reports measured.
ALIKE = ("workload", "arrivals", "slo", "model", "threads", "isa", "machine")


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One metric of two sets of runs. `ratio`: mean of b over mean of a; None where a is zero."""

    name: str
    title: str
    unit: str
    mean_a: float
    mean_b: float
    ratio: float | None
    p: float
    verdict: str


def compare(a: Mapping[str, Any], b: Mapping[str, Any]) -> list[Difference]:
    """The metrics that both have, as Metric.measured wrote them."""
    return [_difference(name, a[name], b[name]) for name in a if name in b]


def _difference(name: str, a: Mapping[str, Any], b: Mapping[str, Any]) -> Difference:
    p = permutation_p(a["values"], b["values"])
    mean_a, mean_b = statistics.fmean(a["values"]), statistics.fmean(b["values"])
    if p < LEVEL:
        verdict = _direction(a["better"], rises=mean_b > mean_a)
    else:
        verdict = SAME if can_tell(len(a["values"]), len(b["values"])) else UNKNOWN
    ratio = mean_b / mean_a if mean_a else None
    return Difference(
        name=name,
        title=a["title"],
        unit=a["unit"],
        mean_a=mean_a,
        mean_b=mean_b,
        ratio=ratio,
        p=p,
        verdict=verdict,
    )


def _direction(better: str, *, rises: bool) -> str:
    if better == "neither":
        return DIFFERENT
    return BETTER if rises == (better == "higher") else WORSE


def can_tell(runs_a: int, runs_b: int) -> bool:
    """Whether the clearest outcome would reach LEVEL: it comes both ways round where both have as many."""
    mirrored = 2 if runs_a == runs_b else 1
    return mirrored / math.comb(runs_a + runs_b, runs_a) < LEVEL


def permutation_p(a: Sequence[float], b: Sequence[float], seed: int = 0) -> float:
    """The two-sided p of the difference of means."""
    values = [*a, *b]
    total = math.fsum(values)

    def apart(hand: Sequence[float]) -> float:
        in_hand = math.fsum(hand)
        return abs(in_hand / len(hand) - (total - in_hand) / (len(values) - len(hand)))

    seen = apart(a) * (1 - ROUNDING)
    ways = hits = 0
    for hand in _hands(values, len(a), seed):
        ways += 1
        hits += apart(hand) >= seen
    return hits / ways


def _hands(values: Sequence[float], size: int, seed: int) -> Iterator[Sequence[float]]:
    """All hands of `size`, or many at random, the one that was seen among them."""
    if math.comb(len(values), size) <= MOST_WAYS:
        yield from itertools.combinations(values, size)
        return
    draw = random.Random(seed)
    yield values[:size]
    for _ in range(MOST_WAYS - 1):
        yield draw.sample(values, size)


def unlike(a: Mapping[str, Any], b: Mapping[str, Any]) -> list[str]:
    """What two reports do not have in common, so that their difference may come from that."""
    lines = []
    for name in ALIKE:
        mine, other = ({"machine": _machine(each), **each["measured"]}.get(name) for each in (a, b))
        if isinstance(mine, Mapping) and isinstance(other, Mapping):
            for part in dict.fromkeys([*mine, *other]):
                lines += _apart(f"{name}, {part}", mine.get(part), other.get(part))
        else:
            lines += _apart(name, mine, other)
    return lines


def only_in_one(a: Mapping[str, Any], b: Mapping[str, Any]) -> list[str]:
    """The metrics that one of two subjects lacks, which compare() leaves out: a line for each of the two."""
    pairs = (("A", a, b), ("B", b, a))
    alone = {
        which: [metric["title"] for name, metric in one.items() if name not in other]
        for which, one, other in pairs
    }
    return [f"only in {which}: {_listed(titles)}" for which, titles in alone.items() if titles]


def _listed(titles: Sequence[str]) -> str:
    more = len(titles) - SHOWN
    return "; ".join(titles[:SHOWN]) + (f"; and {more} more" if more > 0 else "")


def _apart(name: str, mine: Any, other: Any) -> list[str]:
    return [] if mine == other else [f"{name}: {_shown(mine)} / {_shown(other)}"]


def _machine(report: Mapping[str, Any]) -> str:
    where = report["environment"]
    return f"{where['cpu']}, {where['num_cores']} cores"


def _shown(value: Any) -> str:
    return "none" if value is None else str(value)
