"""What is counted of steps."""

import pytest

from redline.core.distribution import Distribution
from redline.core.plan import Plan, PlanItem
from redline.core.roofline import Roofline
from redline.engine.step_meter import StepMeter

ROOFLINE = Roofline(
    read_bytes_s=1e9,
    macs_s=1e12,
    weight_bytes=10**6,
    kv_bytes=100,
    layer_macs=1000,
    output_macs=1000,
    attention_macs=1,
)


def plan(*items):
    return Plan(tuple(PlanItem(None, start, count, True) for start, count in items))


def test_a_value_counts_with_the_first_bound_that_is_not_below_it():
    values = Distribution((1, 2, 5))
    for value in (0.5, 1, 1.5, 5, 6, 7):
        values.add(value)
    assert values.counts == [2, 1, 1, 2] and values.sum == 21


def test_steps_are_counted_and_set_beside_the_roofline():
    meter = StepMeter()
    meter.stepped(plan((9, 1), (19, 1), (0, 30)), 0.01)
    assert meter.tokens.sum == 32 and meter.batch.sum == 3 and meter.seconds.sum == 0.01
    assert meter.roofline_fraction is None and meter.measured_s == 0
    meter.roofline = ROOFLINE
    meter.stepped(plan((9, 1), (19, 1)), 0.01)
    least_s = (10**6 + 30 * 100) / 1e9  # of reading
    assert meter.least_s == pytest.approx(least_s) and meter.measured_s == 0.01
    assert meter.roofline_fraction == pytest.approx(least_s / 0.01)


def test_the_latest_fraction_follows_a_change():
    meter = StepMeter()
    meter.roofline = ROOFLINE
    for seconds in (0.1, 0.01):
        for _ in range(300):
            meter.stepped(plan((9, 1)), seconds)
    assert meter.roofline_fraction == pytest.approx(meter.least_s / 600 / 0.01, rel=0.05)
