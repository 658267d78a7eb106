"""Prompts that arrive together and begin alike compute their beginning once."""

from redline.core.in_flight import MAX_HELD
from tests.core.harness import Harness

SHARED = [1, 2] * 12


def together(count, *, shared=SHARED, token_budget=16, **options):
    harness = Harness(
        block_size=4, token_budget=token_budget, max_batch=100, num_blocks=2000, prompt_share=0.25, **options
    )
    seqs = [harness.add([*shared, n % 3, 0, n % 2, n % 5], max_tokens=3) for n in range(count)]
    return harness, seqs


def num_computed(harness):
    return sum(item.num_tokens for plan in harness.plans for item in plan.items if item.num_tokens > 1)


def test_all_but_one_wait_for_what_they_share():
    harness, seqs = together(6)
    assert [item.seq for item in harness.step().items] == [seqs[0]]
    assert [item.seq for item in harness.step().items][0] is seqs[0]
    harness.run()
    assert [seq.num_cached_tokens >= 24 for seq in seqs] == [False] + [True] * 5
    assert num_computed(harness) <= 28 + 5 * 4
    harness.check_outputs()


def test_others_overtake_those_who_are_held():
    harness, seqs = together(3)
    other = harness.add([9] * 6, max_tokens=2)
    assert {item.seq for item in harness.step().items} == {seqs[0], other}


def test_nothing_is_held_without_a_prefix_cache_or_under_another_salt():
    harness, _ = together(3, prefix_cache=False, token_budget=100)
    assert len(harness.step().items) == 3
    harness, _ = together(1, token_budget=200)
    harness.add([*SHARED, 5], salt="other")
    assert len(harness.step().items) == 2


def test_what_is_shorter_than_a_block_is_not_waited_for():
    harness, _ = together(3, shared=[1, 2], token_budget=100)
    assert len(harness.step().items) == 3


def test_a_chain_of_longer_and_longer_beginnings_ends():
    harness = Harness(block_size=4, token_budget=8, num_blocks=400, max_context=128)
    seqs = [harness.add([7] * (10 * n), max_tokens=2) for n in range(1, 9)]
    harness.run()
    assert num_computed(harness) <= 80 + 8 * 8
    assert all(seq.finish_reason for seq in seqs)
    harness.check_outputs()


def test_the_one_who_computes_may_be_aborted():
    harness, seqs = together(4)
    harness.step()
    harness.abort(seqs[0])
    harness.run()
    assert all(seq.finish_reason == "length" for seq in seqs[1:])
    harness.check_outputs()


def test_a_long_queue_is_not_searched_to_its_end():
    harness, seqs = together(MAX_HELD + 9)
    late = harness.add([9] * 6, max_tokens=2)
    assert late not in [item.seq for item in harness.step().items]
    harness.run()
    harness.check_outputs()
    assert all(seq.finish_reason for seq in seqs)
