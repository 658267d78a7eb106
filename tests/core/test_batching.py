import pytest

from redline.core.sequence import Status
from tests.core.harness import Harness


def running(harness):
    return [seq for seq in harness.seqs if seq.status is Status.RUNNING]


def test_a_closed_batch_waits_until_it_is_full():
    harness = Harness(batching="closed", max_batch=3, window_s=100.0)
    harness.add([1]), harness.add([2])
    assert not harness.step().items and harness.scheduler.has_work
    assert harness.scheduler.idle_until_s() == 100.0
    harness.add([3])
    assert harness.scheduler.idle_until_s() == 0.0
    assert len(harness.step().items) == 3


def test_a_closed_batch_starts_when_the_first_has_waited_long_enough():
    harness = Harness(batching="closed", max_batch=3, window_s=2.0)
    first = harness.add([1])
    harness.now_s = 1.5
    second = harness.add([2])
    assert not harness.step().items and harness.scheduler.idle_until_s() == 2.0
    harness.now_s = 2.0
    assert [item.seq for item in harness.step().items] == [first, second]
    assert harness.scheduler.idle_until_s() is None


def test_nobody_joins_a_closed_batch_before_it_has_ended():
    harness = Harness(batching="closed", max_batch=2, window_s=0.0)
    short, long = harness.add([1], max_tokens=1), harness.add([2], max_tokens=6)
    harness.step()
    late = [harness.add([3], max_tokens=1), harness.add([4], max_tokens=1)]
    while not long.finish_reason:
        assert short.finish_reason and running(harness) == [long]
        harness.step()
    harness.step()
    assert all(seq.finish_reason for seq in late)


def test_a_preempted_member_comes_back_to_its_batch():
    harness = Harness(
        batching="closed", max_batch=2, window_s=0.0, num_blocks=6, block_size=4, max_context=24
    )
    harness.add([1] * 7, max_tokens=12), harness.add([2] * 7, max_tokens=12)
    harness.step()
    late = harness.add([3], max_tokens=1)
    while not late.finish_reason:
        assert late.status is Status.WAITING or not [seq for seq in harness.seqs[:2] if not seq.finish_reason]
        harness.step()
    assert harness.scheduler.num_preemptions > 0
    harness.check_outputs()


def test_forks_belong_to_the_batch_of_their_parent():
    harness = Harness(batching="closed", max_batch=2, window_s=0.0)
    parent = harness.add([1] * 9, max_tokens=6)
    harness.step()
    children = [harness.fork(parent, seed=seed) for seed in (1, 2)]
    late = harness.add([3], max_tokens=1)
    while not all(seq.finish_reason for seq in (parent, *children)):
        assert late.status is Status.WAITING
        harness.step()
    harness.run()
    harness.check_outputs()


@pytest.mark.parametrize("count", [1, 3, 8])
def test_flush_starts_what_waits_and_no_more(count):
    harness = Harness(batching="closed", max_batch=3, window_s=100.0)
    seqs = [harness.add([n], max_tokens=2) for n in range(count)]
    harness.scheduler.flush()
    while not all(seq.finish_reason for seq in seqs):
        assert harness.step().items
    harness.add([9])
    assert not harness.step().items


def test_an_aborted_batch_makes_room_for_the_next():
    harness = Harness(batching="closed", max_batch=2, window_s=0.0)
    members = [harness.add([1], max_tokens=9), harness.add([2], max_tokens=9)]
    harness.step()
    late = harness.add([3], max_tokens=1)
    for seq in members:
        harness.abort(seq)
    harness.step()
    assert late.finish_reason


def test_one_prompt_takes_its_share_while_others_want_some():
    harness = Harness(token_budget=16, prompt_share=0.25)
    long = harness.add([1] * 60, max_tokens=1)
    assert [item.num_tokens for item in harness.step().items] == [16]  # alone
    middling, short = harness.add([2] * 20, max_tokens=1), harness.add([3] * 6, max_tokens=1)
    plan = harness.step()
    tokens = {item.seq: item.num_tokens for item in plan.items}
    assert tokens == {long: 4 + 2, middling: 4, short: 6}, "a prompt that can end in this step does"
    plan = harness.step()
    assert {item.seq: item.num_tokens for item in plan.items} == {long: 4 + 8, middling: 4}


def test_shares_leave_nothing_of_the_budget_unused():
    harness = Harness(token_budget=16, prompt_share=0.1, max_batch=4)
    seqs = [harness.add([n] * 30, max_tokens=1) for n in range(3)]
    assert harness.step().num_tokens == 16
    harness.run()
    assert all(seq.finish_reason for seq in seqs)
    harness.check_outputs()


def test_prefill_first_makes_decodes_wait():
    for prefill_first in (False, True):
        harness = Harness(token_budget=8, prefill_first=prefill_first)
        decoding = harness.add([1], max_tokens=9)
        harness.step()
        harness.add([2] * 20, max_tokens=1)
        assert (decoding in [item.seq for item in harness.step().items]) is not prefill_first
        harness.run()
        harness.check_outputs()
