from statistics import fmean

from redline.decoding.random import uniform


def test_numbers_lie_in_the_unit_interval_and_are_even():
    draws = [uniform(seed, 0, position) for seed in range(100) for position in range(100)]
    assert 0.0 <= min(draws) < max(draws) < 1.0
    assert abs(fmean(draws) - 0.5) < 0.01
    counts = [sum(low / 10 <= draw < (low + 1) / 10 for draw in draws) for low in range(10)]
    assert sum((count - 1000) ** 2 / 1000 for count in counts) < 27.9  # chi-square, 9 degrees, p = 0.001


def test_neighbouring_seeds_streams_and_positions_are_unrelated():
    base = [uniform(7, 0, position) for position in range(1000)]
    for other in (
        [uniform(8, 0, position) for position in range(1000)],
        [uniform(7, 1, position) for position in range(1000)],
        [uniform(7, 0, position + 1) for position in range(1000)],
    ):
        covariance = fmean((a - 0.5) * (b - 0.5) for a, b in zip(base, other, strict=True))
        assert abs(covariance) < 0.01  # 1/12 if they were equal


def test_a_draw_depends_on_its_arguments_alone():
    assert uniform(-5, 3, 9) == uniform(-5, 3, 9)
    assert 0.0 <= uniform(2**63 - 1, 127, 10**6) < 1.0
