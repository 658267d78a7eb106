from redline.config.sampling import SamplingParams
from redline.core.chunked_prefill import ChunkedPrefill
from redline.core.plan import PlanBuilder
from redline.core.sequence import Sequence


def sequence(seq_id, num_tokens, num_computed=0):
    seq = Sequence(seq_id, [1] * num_tokens, SamplingParams(), 0.0)
    seq.num_computed_tokens = num_computed
    return seq


def test_an_item_samples_when_it_reaches_the_last_token():
    builder = PlanBuilder(ChunkedPrefill(10))
    builder.add(sequence(0, 5, 1), 3)
    builder.add(sequence(1, 5, 1), 4)
    plan = builder.build()
    assert [item[1:4] for item in plan.items] == [(1, 3, False), (1, 4, True)] and plan.num_tokens == 7


def test_taking_back_forgets_item_and_copy_and_returns_the_tokens():
    budget = ChunkedPrefill(5)
    builder = PlanBuilder(budget)
    first, second = sequence(0, 3), sequence(1, 2)
    builder.add(first, budget.grant(3), [(0, 7, 8)])
    builder.add(second, budget.grant(2), [(0, 7, 9)])
    builder.take_back(first)
    builder.take_back(sequence(2, 1))
    plan = builder.build()
    assert [item.seq for item in plan.items] == [second] and plan.copies == ((0, 7, 9),)
    assert budget.grant(9) == 3
