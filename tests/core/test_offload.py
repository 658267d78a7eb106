"""Blocks that left the cache come back from slower memory, or are computed again."""

import random

import pytest

from redline.core.offload import NullOffload, ReloadCost, TierOffload, next_key, root_key
from redline.core.sequence import Status
from redline.errors import CapacityError
from tests.core.harness import FakeTier, Harness

PROMPT = [1, 2] * 10


def never():
    return False


def emptied(**options):
    """A harness that has answered PROMPT, and whose cache is empty since; all of it has spilled."""
    harness = Harness(block_size=4, tier=FakeTier(never), **options)
    harness.add(PROMPT, max_tokens=4)
    harness.run()
    for group, pool in enumerate(harness.pools):
        harness.prefix.evict(pool.num_blocks, group)
    assert harness.pool.num_free == harness.pool.num_blocks
    return harness


def test_an_evicted_beginning_is_loaded_and_not_computed():
    harness = emptied()
    seq = harness.add([*PROMPT, 0], max_tokens=2)
    plan = harness.step()
    assert plan.items[0].start == seq.num_cached_tokens == 20 and len(plan.loads) == 5
    assert harness.scheduler.offload.num_loaded_tokens == 20
    harness.run()
    harness.check_outputs()
    assert harness.prefix.match([*PROMPT, 0])[0], "what was loaded can be shared again"


def test_what_is_cached_and_what_spilled_are_joined():
    harness = emptied()
    harness.add(PROMPT[:8] + [0], max_tokens=1)
    harness.step()
    plan_of = harness.add([*PROMPT, 0], max_tokens=1)
    plan = harness.step()
    assert plan.items[0].seq is plan_of and plan.items[0].start == 20 and len(plan.loads) == 3
    harness.run()
    harness.check_outputs()


def test_the_last_token_is_never_loaded():
    harness = emptied()
    harness.add(PROMPT, max_tokens=1)
    assert harness.step().items[0].start == 16


def test_other_salts_load_nothing():
    harness = emptied()
    harness.add(PROMPT, salt="other")
    assert not harness.step().loads


def test_what_cannot_be_read_is_computed_in_a_later_step():
    harness = emptied()
    lost = list(harness.tier.blocks)[2]
    harness.tier.load = lambda group, key, block, load=harness.tier.load: (
        load(group, key, block) if (group, key) != lost else not harness.tier.blocks.pop(lost, None) and False
    )
    seq = harness.add([*PROMPT, 0], max_tokens=2)
    harness.step()
    assert seq.status is Status.WAITING and not seq.block_tables
    assert seq.num_preemptions == 1 and seq.first_scheduled_s is None
    harness.now_s += 3
    assert harness.step().items[0].start == 8, "the two blocks before the lost one"
    assert seq.num_cached_tokens == 8 and seq.first_scheduled_s == 3
    harness.run()
    harness.check_outputs()


def test_a_fork_of_a_sequence_that_is_being_loaded_waits():
    harness = emptied()
    seq = harness.add([*PROMPT, 0], max_tokens=4)
    children = []
    harness.step(lambda: children.append(harness.fork(seq)))
    assert seq.status is Status.RUNNING and children[0].num_computed_tokens == 0
    harness.run()
    harness.check_outputs()


def test_a_preempted_sequence_is_swapped():
    harness = Harness(block_size=4, num_blocks=9, max_batch=2, tier=FakeTier(never))
    first, second = harness.add([1] * 12, max_tokens=16), harness.add([2] * 12, max_tokens=16)
    harness.run()
    assert second.num_preemptions >= 1 and not first.num_preemptions
    assert harness.tier.num_loaded >= 1
    assert any("host memory or disk" in line for line in harness.explain(second))
    harness.check_outputs()
    harness.check_idle()


def test_with_windows_only_what_is_read_is_loaded():
    harness = emptied(windows=((0, 0), (5, 0)))
    harness.add([*PROMPT, 0], max_tokens=2)
    plan = harness.step()
    assert plan.items[0].start == 20
    assert [load.group for load in plan.loads] == [0] * 5 + [1]
    harness.run()
    harness.check_outputs()
    harness.check_idle()


def test_nothing_is_loaded_or_spilled_when_computing_is_faster():
    harness = emptied()
    cost = harness.scheduler.offload._cost
    cost.computed(10, 1.0)
    assert cost.pays(), "until it was tried"
    cost.loaded(10, 1.5)
    assert not cost.pays()
    harness.add([*PROMPT, 0], max_tokens=1)
    assert not harness.step().loads
    before = harness.scheduler.offload.num_spilled_blocks
    harness.run()
    harness.prefix.evict(64)
    assert harness.scheduler.offload.num_spilled_blocks == before
    for _ in range(20):
        cost.computed(10, 3.0)
    assert cost.pays()


def test_persisting_takes_the_latest_or_all():
    harness = Harness(block_size=4, tier=FakeTier(never))
    harness.add(PROMPT, max_tokens=4)
    harness.run()
    assert harness.prefix.persist(2) == 2 and len(harness.tier.blocks) == 2
    assert harness.prefix.persist(64) == 3 and harness.prefix.persist(64) == 0
    harness.tier.blocks.clear()
    harness.prefix.start_over()
    assert harness.prefix.persist(64) == 5 == len(harness.tier.blocks)


def test_keys_depend_on_every_token_and_on_the_salt():
    key = next_key(root_key(""), [1, 2])
    assert key == next_key(root_key(""), (1, 2)) and len(key) == 16
    others = {next_key(root_key("a"), [1, 2]), next_key(root_key(""), [2, 1]), next_key(key, [1, 2])}
    assert len(others | {key}) == 4


def test_off_holds_nothing():
    off = NullOffload()
    assert not off.holds(0, b"") and not off.pays() and not Harness(tier=None).scheduler.offload.pays()
    assert isinstance(Harness(tier=FakeTier(never)).scheduler.offload, TierOffload)
    assert ReloadCost().pays()


@pytest.mark.slow
@pytest.mark.parametrize("windows", [((0, 0),), ((0, 0), (9, 0)), ((11, 0),)])
def test_a_hundred_thousand_operations_leak_nothing(windows):
    """A third of them with each kind of layers; every one is followed by a check of all counts."""
    dice = random.Random(f"{windows}")
    harness = Harness(
        num_blocks=20,
        max_context=48,
        max_batch=5,
        windows=windows,
        tier=FakeTier(lambda: dice.random() < 0.05),
    )
    counts = dict.fromkeys(["arrive", "step", "fork", "abort", "fail", "evict", "persist", "refused"], 0)
    for _ in range(33_334):
        operation = dice.choices(list(counts)[:-1], [20, 50, 8, 5, 1, 8, 8])[0]
        if len(harness.live) > 12 and operation in ("arrive", "fork"):
            operation = "step"
        counts[operation] += 1
        try:
            _operate(harness, operation, dice)
        except CapacityError:
            counts["refused"] += 1
        harness.scheduler.check_integrity()
        if len(harness.tier.blocks) > 200:
            harness.tier.blocks.clear()  # a store that has lost everything
        harness.plans.clear()
        harness.seqs = harness.seqs[-50:]
    harness.run()
    harness.check_idle()
    scheduler = harness.scheduler
    assert min(counts.values()) > 100, counts
    assert scheduler.num_preemptions > 500 and harness.tier.num_loaded > 500
    assert scheduler.offload.num_spilled_blocks > 1000


def _operate(harness, operation, dice):
    live = list(harness.live.values())
    if operation == "arrive":
        start = dice.choice(harness.seqs).token_ids[: dice.randrange(24)] if harness.seqs else []
        prompt = start + dice.choices([0, 1], k=dice.randrange(1, 30))
        harness.add(prompt, dice.randrange(1, 24), seed=dice.randrange(2), salt=dice.choice("aab"))
    elif operation in ("step", "fail"):
        harness.step(fails=operation == "fail")
    elif operation == "evict":
        group = dice.randrange(len(harness.pools))
        harness.prefix.evict(dice.randrange(1, 9), group)
    elif operation == "persist":
        if dice.random() < 0.3:
            harness.prefix.start_over()
        harness.prefix.persist(dice.choice([1, 4]))
    elif live and operation == "fork":
        harness.fork(dice.choice(live), seed=dice.randrange(4))
    elif live:
        harness.abort(dice.choice(live))
