from tests.core.harness import Harness


def pressed(**config):
    """Two sequences that fit one at a time once they have grown."""
    harness = Harness(num_blocks=6, block_size=4, **config)
    return harness, harness.add([1] * 8, max_tokens=12), harness.add([2] * 8, max_tokens=12)


def run_until_preempted(harness):
    while not harness.scheduler.num_preemptions:
        harness.step()


def test_the_latest_arrival_is_the_victim():
    harness, first, second = pressed()
    run_until_preempted(harness)
    assert (first.num_preemptions, second.num_preemptions) == (0, 1)
    assert first in [item.seq for item in harness.plans[-1].items]


def test_a_victim_keeps_its_output_and_ends_with_the_same_tokens():
    for prefix_cache in (True, False):
        harness, _, second = pressed(prefix_cache=prefix_cache)
        run_until_preempted(harness)
        kept = list(second.output_token_ids)
        assert kept and not second.block_table and second.num_computed_tokens == 0
        harness.run()
        assert second.output_token_ids[: len(kept)] == kept
        harness.check_outputs()
        harness.check_idle()


def test_a_victim_goes_before_later_arrivals():
    harness, first, second = pressed(max_batch=2)
    third = harness.add([3], max_tokens=1)
    run_until_preempted(harness)
    assert list(harness.scheduler._waiting) == [second, third]
    while not first.finish_reason:
        harness.step()
    assert second in [item.seq for item in harness.step().items]


def test_a_victim_finds_its_own_prefix():
    harness, first, second = pressed()
    run_until_preempted(harness)
    harness.abort(first)
    hits = harness.prefix.num_hit_tokens
    item = harness.step().items[0]
    assert item.seq is second and item.start == harness.prefix.num_hit_tokens - hits >= 8


def test_cached_tokens_count_the_first_admission_only():
    harness, _, second = pressed()
    harness.run()
    assert second.num_preemptions and second.num_cached_tokens == 0


def test_an_earlier_prompt_takes_blocks_from_a_later_decode_that_was_planned():
    harness = Harness(num_blocks=8, block_size=2, token_budget=4, max_context=16)
    early = harness.new([1] * 10, max_tokens=2)
    harness.now_s = 1.0
    late = harness.add([2] * 3, max_tokens=12)
    harness.step()
    # Stamped earlier but added later, so the one to decode is the one to give way.
    harness.scheduler.add(early)
    harness._remember(early, None)
    run_until_preempted(harness)
    assert late.num_preemptions == 1 and [item.seq for item in harness.plans[-1].items] == [early]
    harness.run()
    assert all(plan.num_tokens <= 4 for plan in harness.plans)
    harness.check_outputs()


def test_the_sequences_of_a_failed_step_are_computed_again():
    harness = Harness()
    seq = harness.add([1] * 10, max_tokens=6)
    harness.step()
    child = harness.fork(seq)
    assert harness.step(fails=True).copies
    harness.run()
    assert seq.num_preemptions == child.num_preemptions == 1
    harness.check_outputs()
    harness.check_idle()


def test_the_time_spent_waiting_again_is_kept():
    harness, first, second = pressed()
    run_until_preempted(harness)
    ((since_s,),) = second.preempted_s
    harness.now_s += 1.5
    harness.run()
    assert not first.preempted_s and len(second.preempted_s) == second.num_preemptions
    assert second.preempted_s[0] == [since_s, since_s + 1.5]
