"""Forks: parallel sampling from one prompt, with copy-on-write of the last block."""

import pytest

from redline.core.sequence import Status
from tests.core.harness import Harness


def forked(prompt_length, *, num_children=1, **config):
    """A parent with one output token, and children that drew another second token."""
    harness = Harness(block_size=4, **config)
    parent = harness.add([1] * prompt_length, max_tokens=8)
    harness.step()
    return harness, parent, [harness.fork(parent, seed=seed + 1) for seed in range(num_children)]


def test_children_share_every_block_of_the_parent():
    harness, parent, children = forked(10, num_children=3)
    assert all(child.block_table == parent.block_table for child in children)
    assert all(child.num_computed_tokens == 10 for child in children)
    assert harness.pool.num_blocks - harness.pool.num_available == 3


def test_all_but_the_last_writer_copy_the_partly_filled_block():
    harness, parent, children = forked(10, num_children=3)
    shared = parent.block_table[-1]
    plan = harness.step()
    assert [source for _, source, _ in plan.copies] == [shared] * 3
    assert len({seq.block_table[-1] for seq in (parent, *children)}) == 4
    assert children[-1].block_table[-1] == shared
    assert all(seq.block_table[:2] == parent.block_table[:2] for seq in children)
    assert not harness.step().copies


def test_full_blocks_are_never_copied():
    harness, parent, children = forked(8, num_children=2)
    assert not harness.step().copies
    assert all(child.block_table[:2] == parent.block_table[:2] for child in children)


@pytest.mark.parametrize("prefix_cache", [True, False])
@pytest.mark.parametrize("prompt_length", [7, 8, 9])
def test_a_child_without_output_computes_the_last_prompt_token_again(prompt_length, prefix_cache):
    harness = Harness(block_size=4, prefix_cache=prefix_cache)
    parent = harness.add([1] * prompt_length, max_tokens=8)
    harness.step()
    child = harness.fork(parent, num_outputs=0)
    item = harness.step().items[-1]
    assert item.seq is child and item.samples
    assert item.start == (4 if prompt_length == 8 else prompt_length - 1)
    harness.run()
    harness.check_outputs()


def test_a_child_shares_only_as_far_as_tokens_agree():
    harness = Harness(block_size=4)
    parent = harness.add([1] * 6, max_tokens=8)
    for _ in range(5):
        harness.step()
    child = harness.new(parent.prompt_token_ids, max_tokens=8)
    child.output_token_ids.extend([parent.output_token_ids[0], 7, 7])
    harness.scheduler.fork(parent, child)
    assert child.num_computed_tokens in (4, 7) and child.block_table[0] == parent.block_table[0]
    harness.check()
    harness.scheduler.abort(child.seq_id)
    harness.run()
    harness.check_idle()


def test_no_copy_when_the_parent_is_gone():
    harness, parent, _ = forked(10)
    harness.abort(parent)
    assert not harness.step().copies
    harness.run()
    harness.check_outputs()


def test_a_child_without_a_place_waits_and_finds_the_prompt_in_the_index():
    harness, parent, (child,) = forked(10, max_batch=1)
    assert child.status is Status.WAITING and not child.block_table
    harness.run()
    assert child.num_cached_tokens == 10 and parent.finish_reason == child.finish_reason == "length"
    harness.check_outputs()


def test_a_child_of_a_finished_parent_starts_from_the_index():
    harness, parent, _ = forked(10, num_children=0)
    harness.abort(parent)
    child = harness.fork(parent)
    harness.run()
    assert child.num_cached_tokens == 8
    harness.check_outputs()


def test_a_child_of_a_parent_that_computed_nothing_waits():
    harness = Harness(block_size=4)
    parent = harness.add([1] * 9, max_tokens=2)
    children = []
    harness.step(lambda: children.append(harness.fork(parent)))
    assert children[0].status is Status.WAITING
    harness.run()
    assert children[0].num_cached_tokens == 8
    harness.check_outputs()


def test_a_fork_during_a_step_leaves_out_the_block_being_filled():
    harness, parent, _ = forked(10, num_children=0)
    children = []
    harness.step(lambda: children.append(harness.fork(parent)))
    assert children[0].num_computed_tokens == 8 and children[0].block_table == parent.block_table[:2]
    harness.run()
    harness.check_outputs()


def test_a_child_may_be_aborted_before_and_after_its_copy():
    for steps in (0, 1):
        harness, parent, children = forked(10, num_children=2)
        for _ in range(steps):
            harness.step()
        harness.abort(children[0])
        harness.run()
        assert parent.finish_reason == "length"
        harness.check_outputs()
        harness.check_idle()
