"""The knee on curves whose knee is known, and on those that have none."""

from __future__ import annotations

import math
import random

import pytest

from redline.bench.sweep.knee import frontier, knee


def test_a_corner_is_the_knee() -> None:
    assert knee([(1, 10), (2, 100), (10, 110)]) == 1


def test_the_knee_of_saturation_is_where_its_slope_is_that_of_the_chord() -> None:
    xs = [place / 100 for place in range(501)]
    found = knee([(x, 1 - math.exp(-x)) for x in xs])
    chord = (1 - math.exp(-5)) / 5
    assert found is not None and xs[found] == pytest.approx(-math.log(chord), abs=0.01)


def test_the_knee_of_a_hyperbola() -> None:
    """y = 5 - 1 / x between 0.1 and 1: the slope 1 / x^2 is that of the chord, 10, at x = 1 / sqrt(10)."""
    xs = [place / 1000 for place in range(100, 1001)]
    found = knee([(x, 5 - 1 / x) for x in xs])
    assert found is not None and xs[found] == pytest.approx(0.316, abs=0.001)


def test_units_and_order_do_not_matter() -> None:
    points = [(1.0, 10.0), (2.0, 19.0), (4.0, 34.0), (8.0, 40.0), (16.0, 42.0)]
    assert knee(points) == 2, "0.75 of the way up at 0.2 of the way along; the next is 0.94 up at 0.47"
    assert knee([(x / 1e3, 7 * y) for x, y in points]) == 2
    places = list(range(5))
    random.Random(1).shuffle(places)
    assert places[knee([points[place] for place in places])] == 2


@pytest.mark.parametrize(
    "points",
    [
        [],
        [(1, 1)],
        [(1, 1), (2, 5)],
        [(x, 3 * x + 1) for x in range(8)],
        [(x, 3 * x + random.Random(x).uniform(-0.3, 0.3)) for x in range(8)],
        [(x, x * x) for x in range(8)],
        [(x, 5) for x in range(8)],
        [(2, y) for y in range(8)],
        [(x, 10 - x) for x in range(8)],
        [(3, 3)] * 5,
    ],
    ids=["none", "one", "two", "line", "noise", "convex", "flat", "upright", "falling", "equal"],
)
def test_what_does_not_bend_down_has_no_knee(points) -> None:
    assert knee(points) is None


def test_points_that_yield_less_and_wait_longer_do_not_move_the_knee() -> None:
    curve = [(1.0, 10.0), (2.0, 19.0), (4.0, 34.0), (8.0, 40.0), (16.0, 42.0)]
    overloaded = [(5.0, 30.0), (20.0, 41.0), (60.0, 12.0)]
    assert knee([*overloaded, *curve]) == 3 + 2
    assert frontier([*overloaded, *curve]) == [3, 4, 5, 6, 7]


def test_of_two_points_with_equal_latency_the_higher_is_on_the_curve() -> None:
    assert frontier([(1, 4), (1, 6), (2, 6), (3, 8)]) == [1, 3]
