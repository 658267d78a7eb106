from redline.decoding.speculative.costs import FIRST_SLOPE, StepCosts
from redline.decoding.speculative.lengths import Draft, draft_lengths


def flat(rows):
    return 1.0


def linear(rows):
    return float(rows)


def test_takes_all_where_rows_cost_nothing_and_none_where_they_cost_a_step():
    drafts = [Draft(5, 0.9), Draft(3, 0.2)]
    assert draft_lengths(drafts, 2, 99, flat) == [5, 3]
    assert draft_lengths(drafts, 2, 99, linear) == [0, 0]


def test_takes_the_likeliest_first():
    cost = {2: 1.0, 3: 1.05, 4: 1.1, 5: 1.6, 6: 1.7}
    assert draft_lengths([Draft(2, 0.3), Draft(2, 0.9)], 2, 6, cost.__getitem__) == [0, 2]


def test_looks_beyond_a_step_in_the_cost():
    """A row alone does not pay here, but four together do."""
    cost = {1: 1.0, 2: 2.2, 3: 2.2, 4: 2.2, 5: 2.2}
    assert draft_lengths([Draft(1, 0.99)], 1, 5, cost.__getitem__) == [0]
    assert draft_lengths([Draft(4, 0.99)], 1, 5, cost.__getitem__) == [4]


def test_stays_within_the_rows():
    assert draft_lengths([Draft(9, 0.9)], 1, 4, flat) == [3]
    assert draft_lengths([Draft(9, 0.9)], 4, 4, flat) == [0]
    assert draft_lengths([], 4, 9, flat) == []


def test_nothing_for_a_proposer_that_is_always_wrong():
    assert draft_lengths([Draft(9, 0.0)], 1, 99, flat) == [0]


def test_costs_between_and_behind_what_was_measured():
    costs = StepCosts()
    assert costs.at(1) == 1.0 and costs.at(3) == 1.0 + 2 * FIRST_SLOPE
    costs.measured(2, 0.1)
    assert costs.at(1) == costs.at(2) == 0.1
    assert costs.at(4) == 0.1 * (1 + 2 * FIRST_SLOPE)
    costs.measured(6, 0.3)
    assert abs(costs.at(4) - 0.2) < 1e-12 and costs.at(6) == 0.3


def test_costs_follow_what_is_measured_but_not_a_single_delay():
    costs = StepCosts()
    costs.measured(1, 0.1)
    costs.measured(1, 9.0)
    assert costs.at(1) < 0.13
    for _ in range(50):
        costs.measured(1, 0.2)
    assert abs(costs.at(1) - 0.2) < 1e-3
