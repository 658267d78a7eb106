import pytest

from redline.core.blocks import BlockPool
from redline.core.limits import SchedulerConfig
from redline.core.prefix import NullPrefixIndex
from redline.core.scheduler import Scheduler
from redline.core.sequence import Status
from redline.errors import CapacityError, ConfigError
from tests.core.harness import Harness


def seqs_of(plan):
    return [item.seq for item in plan.items]


def test_sequences_join_and_leave_between_steps():
    harness = Harness()
    first = harness.add([1, 2], max_tokens=3)
    harness.step()
    second = harness.add([3], max_tokens=3)
    assert seqs_of(harness.step()) == [first, second]
    assert seqs_of(harness.step()) == [first, second]
    assert seqs_of(harness.step()) == [second]
    assert not harness.scheduler.has_work


def test_no_more_than_max_batch_run():
    harness = Harness(max_batch=3)
    for n in range(7):
        harness.add([n], max_tokens=3)
    harness.step()
    assert (harness.scheduler.num_running, harness.scheduler.num_waiting) == (3, 4)
    harness.run()
    assert max(len(plan.items) for plan in harness.plans) == 3


def test_admission_is_first_come_first_served():
    harness = Harness(num_blocks=8, max_batch=2, block_size=4)
    first = harness.add([0] * 20, max_tokens=4)
    big = harness.add([1] * 24, max_tokens=4)
    small = harness.add([2], max_tokens=1)
    harness.step()
    assert seqs_of(harness.plans[-1]) == [first] and big.status is small.status is Status.WAITING
    harness.run()
    admitted = sorted(
        harness.seqs, key=lambda seq: next(i for i, p in enumerate(harness.plans) if seq in seqs_of(p))
    )
    assert admitted == [first, big, small]


def test_lower_priority_numbers_go_first():
    harness = Harness(max_batch=1)
    for priority in (2, 0, 1, 0):
        harness.add([1], max_tokens=1, priority=priority)
    harness.run()
    assert [item.seq.seq_id for plan in harness.plans for item in plan.items] == [1, 3, 2, 0]


def test_a_later_prompt_reuses_the_blocks_of_an_earlier_one():
    harness = Harness(block_size=4)
    harness.add([1] * 10, max_tokens=1)
    harness.run()
    second = harness.add([1] * 9 + [2] * 3, max_tokens=1)
    item = harness.step().items[0]
    assert second.num_cached_tokens == 8 and (item.start, item.num_tokens) == (8, 4)
    assert (harness.prefix.num_queried_tokens, harness.prefix.num_hit_tokens) == (22, 8)


def test_blocks_are_shared_as_soon_as_they_are_computed_and_not_before():
    harness = Harness(block_size=4, token_budget=None)
    first = harness.add([1] * 9, max_tokens=5)
    twin = harness.add([1] * 9, max_tokens=5)
    harness.step()
    assert twin.num_cached_tokens == 0
    third = harness.add([1] * 9, max_tokens=5)
    harness.step()
    assert third.num_cached_tokens == 8 and first.status is Status.RUNNING
    assert third.block_table[:2] == first.block_table[:2] == twin.block_table[:2]


def test_an_identical_prompt_computes_its_last_token_for_the_logits():
    harness = Harness(block_size=4)
    harness.add([1] * 8, max_tokens=1)
    harness.run()
    item = harness.add([1] * 8, max_tokens=1) and harness.step().items[0]
    assert (item.start, item.num_tokens, item.samples) == (7, 1, True)


def test_a_block_that_agrees_in_part_is_copied():
    harness = Harness(block_size=4)
    harness.add([1] * 6 + [2] * 6, max_tokens=1)
    harness.run()
    seq = harness.add([1] * 6 + [0] * 3, max_tokens=3)
    plan = harness.step()
    assert plan.items[0].start == seq.num_cached_tokens == 6 and len(plan.copies) == 1
    assert harness.prefix.num_hit_tokens == 6
    harness.run()
    harness.check_outputs()


def test_the_source_of_a_copy_is_not_evicted_to_make_room_for_it():
    harness = Harness(num_blocks=3, block_size=4, max_context=12)
    harness.add([1] * 4 + [2] * 4, max_tokens=2)
    harness.run()
    seq = harness.add([1] * 4 + [2] * 3 + [0] * 3, max_tokens=2)
    harness.run()
    assert seq.num_cached_tokens in (4, 7)
    harness.check_outputs()
    harness.check_idle()


def test_salts_keep_prompts_apart():
    harness = Harness(block_size=4)
    harness.add([1] * 9, salt="a")
    harness.run()
    other, same = harness.add([1] * 9, salt="b"), harness.add([1] * 9, salt="a")
    harness.run()
    assert (other.num_cached_tokens, same.num_cached_tokens) == (0, 8)
    harness.check_outputs()


def test_what_a_sequence_used_until_its_end_is_evicted_last():
    harness = Harness(block_size=4)
    first = harness.add([1] * 9, max_tokens=3)
    harness.step()
    second = harness.add([2] * 9, max_tokens=1)
    harness.run()
    assert harness.plans[-1].items[0].seq is first and second.finish_reason
    harness.prefix.evict(2)
    assert len(harness.prefix.match([1] * 9)[0]) == 2 and not harness.prefix.match([2] * 9)[0]


def test_a_sequence_that_does_not_fit_is_looked_up_again_only_after_a_release(monkeypatch):
    harness = Harness(num_blocks=8, block_size=4)
    first = harness.add([1] * 13, max_tokens=9)
    harness.add([2] * 16, max_tokens=2)
    lookups = []
    match = harness.prefix.match
    monkeypatch.setattr(harness.prefix, "match", lambda *args: lookups.append(args) or match(*args))
    while not first.finish_reason:
        harness.step()
    assert len(lookups) == 2
    harness.run()
    assert len(lookups) == 3


def test_a_spare_block_per_running_sequence_keeps_a_newcomer_from_being_preempted_at_once():
    harness = Harness(num_blocks=6, block_size=4)
    first = harness.add([1] * 8, max_tokens=4)
    harness.step()
    # 3 of 6 blocks will be left, the first takes one of them in the next step.
    newcomer = harness.add([2] * 13, max_tokens=4)
    while not first.finish_reason:
        harness.step()
        assert newcomer.status is Status.WAITING
    harness.run()
    assert harness.scheduler.num_preemptions == 0


def test_memory_that_only_the_index_uses_is_given_to_new_sequences():
    harness = Harness(num_blocks=6, block_size=4)
    for n in range(5):
        harness.add([n] * 20, max_tokens=4)
        harness.run()
    assert harness.prefix.num_evicted_blocks > 0 and harness.scheduler.num_preemptions == 0
    harness.check_idle()


@pytest.mark.parametrize("moment", ["waiting", "running", "in a step", "finished"])
def test_abort_at_any_moment_frees_everything(moment):
    harness = Harness(max_batch=1)
    other = harness.add([5] * 6, max_tokens=6) if moment == "waiting" else None
    seq = harness.add([1] * 6, max_tokens=6)
    if moment == "in a step":
        harness.step(lambda: harness.abort(seq))
    else:
        harness.step()
        if moment == "finished":
            harness.run()
        harness.abort(seq)
    assert seq.status is Status.FINISHED and not seq.block_table
    assert seq.finish_reason == ("length" if moment == "finished" else "abort")
    harness.run()
    assert other is None or other.finish_reason == "length"
    harness.check_idle()


def test_a_sequence_id_can_be_used_again_while_its_step_runs():
    harness = Harness()
    old = harness.add([1] * 6)
    harness._ids = iter([0])
    harness.step(lambda: (harness.abort(old), harness.add([2] * 6)))
    assert old.output_token_ids == []
    harness.run()
    harness.check_outputs()


@pytest.mark.parametrize(
    ("num_prompt", "max_tokens"), [(41, None), (40, 1), (40, None), (30, 11), (1, 41), (32, 9)]
)
@pytest.mark.parametrize(
    "limits", [{"num_blocks": 10, "max_context": 99}, {"num_blocks": 64, "max_context": 40}]
)
def test_what_can_never_fit_is_refused_with_the_numbers(num_prompt, max_tokens, limits):
    harness = Harness(block_size=4, **limits)
    with pytest.raises(CapacityError) as error:
        harness.add([1] * num_prompt, max_tokens)
    for number in (num_prompt, max_tokens, limits["max_context"], limits["num_blocks"] * 4):
        assert str(number) in str(error.value)
    assert not harness.scheduler.has_work
    harness.check()


@pytest.mark.parametrize(("num_prompt", "max_tokens"), [(39, 1), (39, None), (30, 10), (1, 39), (1, None)])
@pytest.mark.parametrize(
    "limits", [{"num_blocks": 10, "max_context": 99}, {"num_blocks": 64, "max_context": 40}]
)
@pytest.mark.parametrize("prefix_cache", [True, False])
def test_what_just_fits_runs_to_its_end_alone(num_prompt, max_tokens, limits, prefix_cache):
    harness = Harness(block_size=4, prefix_cache=prefix_cache, **limits)
    harness.add([9] * 24, max_tokens=2)
    harness.run()
    seq = harness.add([1] * num_prompt, max_tokens)
    harness.run()
    assert seq.num_tokens == seq.max_num_tokens == 40
    assert harness.scheduler.num_preemptions == 0
    harness.check_outputs()


def test_the_first_in_order_advances_in_every_step_in_which_it_is_not_crowded_out():
    harness = Harness(num_blocks=12, block_size=2, max_batch=6, token_budget=64)
    for n in range(6):
        harness.add([n % 3] * 5, max_tokens=15)
    while harness.scheduler.has_work:
        first = min(harness.live)
        assert first in [item.seq.seq_id for item in harness.step().items]
    assert harness.scheduler.num_preemptions > 0


def test_nobody_starves_under_steady_arrivals():
    harness = Harness(num_blocks=10, block_size=2, max_batch=4, token_budget=6, max_context=20)
    for step in range(300):
        harness.now_s += 1.0
        while harness.scheduler.num_waiting < 5:
            harness.add([step % 2] * (1 + step % 9), max_tokens=1 + step % 10)
        harness.step()
        oldest = min(harness.live.values(), key=lambda seq: seq.arrival_s)
        assert harness.now_s - oldest.arrival_s < 60, f"{oldest} does not get its turn"


def test_equal_traffic_gives_equal_plans():
    def plans():
        harness = Harness(num_blocks=12, block_size=2, max_batch=5, token_budget=9, max_context=24)
        for n in range(25):
            harness.add([n % 3] * (1 + n % 8), max_tokens=1 + n % 12)
            harness.step()
        harness.run()
        return [([(i.seq.seq_id, *i[1:]) for i in plan.items], plan.copies) for plan in harness.plans]

    assert plans() == plans()


def test_the_clock_stamps_the_first_admission_only():
    harness = Harness(num_blocks=6, block_size=4)
    harness.add([1] * 8, max_tokens=12)
    harness.now_s = 3.0
    seq = harness.add([2] * 8, max_tokens=12)
    while not harness.scheduler.num_preemptions:
        harness.now_s += 1.0
        harness.step()
    harness.run()
    assert seq.num_preemptions and seq.first_scheduled_s == 4.0


def test_usage_counts_what_running_sequences_hold():
    harness = Harness(num_blocks=10, block_size=4)
    harness.add([1] * 9, max_tokens=2)
    assert harness.scheduler.kv_usage == 0
    harness.step()
    assert harness.scheduler.kv_usage == pytest.approx(0.3)
    harness.run()
    assert harness.scheduler.kv_usage == 0 and harness.pool.num_free == 8


def test_a_plan_is_updated_once():
    harness = Harness()
    harness.add([1])
    plan = harness.step()
    with pytest.raises(AssertionError, match="once"):
        harness.scheduler.update(plan, {0: 1})


def test_a_sequence_that_should_be_finished_is_noticed():
    harness = Harness()
    seq = harness.new([1], max_tokens=1)
    harness.scheduler.add(seq)
    harness.scheduler.update(harness.scheduler.schedule(), {0: 1})
    with pytest.raises(AssertionError, match="should be finished"):
        harness.scheduler.update(harness.scheduler.schedule(), {0: 1})


@pytest.mark.parametrize(
    "corrupt",
    [
        lambda harness, seq: harness.pool.share(seq.block_table[0]),
        lambda harness, seq: harness.pool.allocate(),
        lambda harness, seq: seq.block_table.pop(),
        lambda harness, seq: seq.block_table.append(seq.block_table[0]),
        lambda harness, seq: setattr(seq, "num_computed_tokens", seq.num_tokens),
        lambda harness, seq: setattr(seq, "num_computed_tokens", 4),
        lambda harness, seq: setattr(seq, "status", Status.WAITING),
        lambda harness, seq: harness.scheduler._running.remove(seq),
        lambda harness, seq: setattr(harness.scheduler._waiting.first, "block_tables", ([0],)),
    ],
)
def test_check_integrity_sees_corruption(corrupt):
    harness = Harness(max_batch=1, block_size=4)
    seq = harness.add([1] * 10)
    harness.add([2])
    harness.step()
    corrupt(harness, seq)
    with pytest.raises(AssertionError):
        harness.scheduler.check_integrity()


@pytest.mark.parametrize("name", ["max_batch", "token_budget", "block_size", "max_context"])
def test_limits_below_one_are_refused(name):
    limits = {"max_batch": 1, "token_budget": 1, "block_size": 1, "max_context": 1, name: 0}
    with pytest.raises(ConfigError, match=f"{name} is 0"):
        SchedulerConfig(**limits)


def test_an_idle_scheduler_plans_nothing():
    config = SchedulerConfig(max_batch=1, token_budget=None, block_size=4, max_context=8)
    scheduler = Scheduler(config, [BlockPool(1, 4)], NullPrefixIndex(), lambda: 0.0)
    plan = scheduler.schedule()
    assert plan.items == plan.copies == () and plan.num_tokens == 0
    scheduler.update(plan, {})
