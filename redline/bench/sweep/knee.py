"""knee(): where a curve of throughput over latency bends: beyond it, a little more costs a lot of waiting.

Kneedle (Satopaa et al., "Finding a 'Kneedle' in a Haystack", ICDCS workshops 2011): both axes are scaled to
0..1, and the knee is where the curve lies highest above the straight line between its ends. Its smoothing and
its online threshold are left out: they need more points than a sweep has. Two rules take their place. A point
is not on the curve when a faster one yields as much; and a knee must stand out by LEAST_RISE, or it is noise
on a line.
"""

from __future__ import annotations

from collections.abc import Sequence

Point = tuple[float, float]  # latency, throughput
LEAST_RISE = 0.05  # of the range of throughput, above the straight line


def frontier(points: Sequence[Point]) -> list[int]:
    """Places of the points on the curve, by rising latency: each yields more than all that are faster."""
    kept: list[int] = []
    for place in sorted(range(len(points)), key=lambda place: (points[place][0], -points[place][1])):
        if not kept or points[place][1] > points[kept[-1]][1]:
            kept.append(place)
    return kept


def knee(points: Sequence[Point]) -> int | None:
    """The place of the knee in `points`; None: fewer than three are on the curve, or it does not bend."""
    curve = frontier(points)
    if len(curve) < 3:
        return None
    (left, low), (right, high) = points[curve[0]], points[curve[-1]]
    rises = {
        place: (points[place][1] - low) / (high - low) - (points[place][0] - left) / (right - left)
        for place in curve
    }
    best = max(rises, key=lambda place: rises[place])
    return best if rises[best] >= LEAST_RISE else None
