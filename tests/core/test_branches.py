"""Branches: other continuations beside the drafts, in scratch blocks, which a sequence takes over."""

import pytest

from tests.core.fake_model import VOCAB, generate
from tests.core.harness import Harness

PROMPT = [0, 1, 0, 0, 1, 1]


def liar(num_right, num_branches=2):
    """Guesses of which the first is wrong in its token `num_right`, and the last is all right."""
    calls = {"count": 0}

    def guess(seq):
        calls["count"] += 1
        known = len(seq.output_token_ids)
        tokens = generate(seq, 0, known + num_right + 3)[known:]
        if calls["count"] % num_branches:  # of one sequence the draft comes first, the right one last
            tokens[num_right] = (tokens[num_right] + 1) % VOCAB
        return tokens

    return guess


@pytest.mark.parametrize("windows", [((0, 0),), ((0, 0), (7, 0)), ((0, 0), (1, 0), (3, 2))])
@pytest.mark.parametrize("block_size", [1, 3, 4])
@pytest.mark.parametrize("num_right", [0, 2])
def test_a_sequence_goes_on_with_the_branch_that_is_right(windows, block_size, num_right):
    harness = Harness(guess=liar(num_right), num_branches=2, block_size=block_size, windows=windows)
    seq = harness.add(PROMPT, 40)
    harness.run()
    assert len(seq.output_token_ids) == 40
    harness.check_outputs()
    harness.check_idle()
    assert harness.model.num_from_branches > 40 // (num_right + 4) - 4
    said = " ".join(harness.explain(seq))
    assert f"went on with another guess after {num_right}" in said, said


def test_blocks_of_a_branch_can_be_found_by_others():
    harness = Harness(guess=liar(1), num_branches=2)
    first = harness.add(PROMPT, 30)
    harness.run()
    again = harness.add(first.token_ids[:-1], 2)
    harness.run()
    assert again.num_cached_tokens >= 28 and harness.model.num_from_branches
    harness.check_outputs()


def test_nobody_gives_way_for_a_branch():
    harness = Harness(guess=liar(0), num_branches=2, num_blocks=9, prefix_cache=False)
    for seed in range(2):
        harness.add(PROMPT, 10, seed=seed)
    harness.run()
    harness.check_outputs()
    drafting = [plan for plan in harness.plans if any(item.drafts for item in plan.items)]
    assert len({len(plan.branches) for plan in drafting}) > 1, "for some there were blocks"
    assert harness.scheduler.num_preemptions == 0


def test_a_branch_needs_budget_and_blocks():
    for options in ({"num_blocks": 4, "max_context": 16}, {"token_budget": 4}):
        harness = Harness(guess=liar(0), num_branches=2, **options)
        harness.add(PROMPT, 10)
        harness.run()
        harness.check_outputs()
        assert not all(plan.branches for plan in harness.plans if any(item.drafts for item in plan.items))


def test_who_ends_or_fails_in_the_step_leaves_nothing_behind():
    harness = Harness(guess=liar(0), num_branches=2, prefix_cache=False)
    seq, other = harness.add(PROMPT, 30), harness.add(PROMPT[:3], 30)
    for _ in range(3):
        harness.step()
    assert harness.step(fails=True).branches
    held = []
    harness.step(lambda: held.extend(harness.scheduler._branches.blocks(0)))
    assert not held, "nobody decodes in the step after"
    while not harness.step(lambda: harness.abort(other)).branches:
        pass
    assert harness.step(lambda: harness.fork(seq, seed=0)).branches
    harness.run()
    harness.check_outputs()
    harness.check_idle()
