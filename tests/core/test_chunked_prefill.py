import pytest

from redline.core.chunked_prefill import step_budget
from tests.core.harness import Harness


def test_a_budget_grants_no_more_than_it_has():
    budget = step_budget(10, max_context=100)
    assert [budget.grant(4), budget.grant(20), budget.grant(1)] == [4, 6, 0]
    budget.give_back(3)
    assert budget.grant(20) == 3


def test_without_a_budget_prompts_are_whole_and_fill_one_context():
    budget = step_budget(None, max_context=100)
    assert [budget.grant(60), budget.grant(50), budget.grant(40)] == [60, 0, 40]
    assert [budget.grant(1) for _ in range(5)] == [1] * 5
    budget.give_back(60)
    assert budget.grant(61) == 0 and budget.grant(60) == 60


def test_a_prompt_is_cut_into_chunks_of_the_budget():
    harness = Harness(token_budget=6)
    seq = harness.add(list(range(15)), max_tokens=2)
    harness.run()
    items = [(item.start, item.num_tokens, item.samples) for plan in harness.plans for item in plan.items]
    assert items == [(0, 6, False), (6, 6, False), (12, 3, True), (15, 1, True)]
    assert len(seq.output_token_ids) == 2


def test_decodes_go_first_and_prompts_fill_the_rest():
    harness = Harness(token_budget=8)
    decodes = [harness.add([n, n], max_tokens=20) for n in range(3)]
    harness.step()
    prompt = harness.add(list(range(30)), max_tokens=1)
    plan = harness.step()
    assert [(item.seq, item.num_tokens) for item in plan.items] == [
        *((seq, 1) for seq in decodes),
        (prompt, 5),
    ]


def test_a_new_prompt_starts_in_what_an_earlier_one_leaves():
    harness = Harness(token_budget=8)
    first, second = harness.add([1] * 11), harness.add([2] * 9)
    harness.step()
    assert [(item.seq, item.num_tokens) for item in harness.step().items] == [(first, 3), (second, 5)]


def test_a_budget_below_the_batch_serves_the_earliest():
    harness = Harness(token_budget=2, max_batch=8)
    seqs = [harness.add([n], max_tokens=4) for n in range(5)]
    harness.run()
    assert [item.seq for item in harness.plans[0].items] == seqs[:2]
    assert all(plan.num_tokens <= 2 for plan in harness.plans)


@pytest.mark.parametrize("token_budget", [1, 3, 16, None])
def test_chunks_do_not_change_the_output(token_budget):
    harness = Harness(token_budget=token_budget)
    for length in (1, 7, 30):
        harness.add([length % 3] * length, max_tokens=9)
    harness.run()
    harness.check_outputs()
