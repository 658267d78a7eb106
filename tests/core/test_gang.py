"""Gangs: places for all of them or for none, and nobody goes on before the others can."""

import pytest

from redline.config.sampling import SamplingParams
from redline.core.gang import Gang
from redline.core.sequence import Status
from redline.errors import RequestError
from tests.core.harness import Harness


def searching(harness, num_places, prompt, **options):
    """The first of a gang, with its prompt computed, and the others forked from it."""
    lead = harness.add(prompt, max_tokens=8, gang=Gang(num_places), **options)
    harness.step()
    return [lead, *(fork(harness, lead, seed) for seed in range(1, num_places))]


def fork(harness, parent, seed):
    child = parent.sibling(next(harness._ids))
    child.params = SamplingParams(max_tokens=8, seed=seed)
    child.output_token_ids.extend(parent.output_token_ids)
    harness.scheduler.fork(parent, child)
    harness._num_forced[child.seq_id] = len(parent.output_token_ids)
    harness._remember(child, None)
    return child


def test_places_are_held_for_those_who_are_not_there_yet():
    harness = Harness(max_batch=5)
    harness.add([1] * 5, gang=Gang(3))
    others = [harness.add([2] * 5), harness.add([3] * 5), harness.add([4] * 5)]
    harness.step()
    assert [seq.status is Status.RUNNING for seq in others] == [True, True, False]
    assert harness.scheduler.num_running == 3


def test_a_gang_starts_only_when_all_of_it_has_room_and_nobody_overtakes():
    harness = Harness(max_batch=4)
    first = [harness.add([place] * 5, max_tokens=4) for place in (1, 2)]
    lead = harness.add([3] * 5, gang=Gang(3))
    last = harness.add([4] * 5)
    harness.step()
    assert lead.status is last.status is Status.WAITING
    harness.abort(first[0])
    harness.step()
    assert lead.status is Status.RUNNING and last.status is Status.WAITING


def test_forks_of_a_gang_always_have_a_place():
    harness = Harness(max_batch=4, num_blocks=128)
    gangs = [searching(harness, 2, [place] * 7) for place in (1, 2)]
    assert all(seq.status is Status.RUNNING for gang in gangs for seq in gang)
    assert harness.scheduler.num_running == 4
    late = harness.add([5] * 5)
    harness.step()
    harness.abort(gangs[0][0])
    harness.step()
    assert late.status is Status.WAITING, "the place stays with the gang while one of it runs"
    harness.abort(gangs[0][1])
    harness.step()
    assert late.status is Status.RUNNING


@pytest.mark.parametrize("prefix_cache", [True, False])
def test_a_token_that_is_not_known_yet_is_computed_again(prefix_cache):
    harness = Harness(prefix_cache=prefix_cache)
    scheduler = harness.scheduler
    for length in (6, 7, 8, 9):  # blocks of 4
        seq = harness.new([length] * length, gang=Gang(2))
        scheduler.add(seq)
        for _ in range(3):
            plan = scheduler.schedule()
            scheduler.update(plan, {seq.seq_id: None})
            scheduler.check_integrity()
            assert not seq.output_token_ids and seq.num_uncomputed_tokens == 1
        [item] = scheduler.schedule().items
        assert (item.start, item.num_tokens, item.samples) == (length - 1, 1, True)
        scheduler.abort(seq.seq_id)


@pytest.mark.parametrize("limits", [{"max_batch": 3}, {"token_budget": 3}])
def test_a_gang_that_never_fits_a_step_is_refused(limits):
    harness = Harness(**limits)
    with pytest.raises(RequestError, match="best_of is 4"):
        harness.add([1] * 5, gang=Gang(4))
    harness.add([1] * 5, gang=Gang(3))


@pytest.mark.parametrize("prefix_cache, most", [(True, 28), (False, 20)])
def test_a_gang_that_never_fits_the_memory_is_refused(prefix_cache, most):
    """20 blocks of 4; three share the two of their prompt in an index, and have one to spare each."""
    harness = Harness(num_blocks=20, prefix_cache=prefix_cache)
    seq = harness.new([1] * 8, max_tokens=None, gang=Gang(3))
    harness.scheduler.add(seq)
    assert seq.max_num_tokens == most
    with pytest.raises(RequestError, match=f"with {most} tokens each"):
        harness.add([1] * 8, max_tokens=most - 7, gang=Gang(3))


def test_a_member_that_gave_way_comes_back_to_its_own_place():
    harness = Harness(num_blocks=14, max_batch=4)
    older = harness.add([9] * 20, max_tokens=12)
    gang = searching(harness, 3, [1] * 9)
    harness.run()
    assert older.finish_reason == "length"
    assert all(seq.finish_reason == "length" for seq in gang)
    assert sum(seq.num_preemptions for seq in gang) > 0 and not older.num_preemptions
    harness.check_idle()


def in_lockstep(harness, gangs, most_steps=400):
    """Let each gang go on by a token when all of it is in a step, as a search does, until all have ended."""
    scheduler, left = harness.scheduler, [list(gang) for gang in gangs]
    for _ in range(most_steps):
        if not left:
            return
        plan = scheduler.schedule()
        samples = {item.seq.seq_id for item in plan.items if item.samples}
        new_tokens: dict[int, int | None] = dict.fromkeys(samples)
        for gang in left:
            if all(seq.seq_id in samples for seq in gang):
                new_tokens |= {seq.seq_id: seq.seq_id for seq in gang}
        scheduler.update(plan, new_tokens)
        scheduler.check_integrity()
        for seq in [seq for gang in left for seq in gang if seq.num_tokens == seq.max_num_tokens]:
            scheduler.finish(seq.seq_id, "length")
        left = [gang for gang in left if gang[0].status is not Status.FINISHED]
    raise AssertionError(f"these hold each other up: {left}")


def test_gangs_that_came_at_once_do_not_wait_for_each_other():
    """Each fits alone. Were they mixed in the order of those who run, half of each would keep its blocks."""
    harness = Harness(num_blocks=16, prefix_cache=False)
    gangs = [Gang(2), Gang(2)]
    leads = [harness.new([place] * 4, max_tokens=20, gang=gang) for place, gang in enumerate(gangs)]
    seqs = [(lead, lead.sibling(next(harness._ids))) for lead in leads]
    for seq in [*leads, *(second for _, second in seqs)]:
        harness.scheduler.add(seq)
    in_lockstep(harness, seqs)
    assert not sum(seq.num_preemptions for seq in seqs[0]), "who came first has never given way"
    harness.check_idle()


@pytest.mark.parametrize("order, options", [("deadline", {"deadline_s": 0.0}), ("fcfs", {"priority": -1})])
def test_one_that_its_gang_waits_for_comes_before_newcomers(order, options):
    gang, newcomer = _one_gave_way(order, options)
    assert gang[1].status is Status.RUNNING and newcomer.status is Status.WAITING


def test_who_is_more_urgent_and_may_take_places_comes_before_both():
    gang, newcomer = _one_gave_way("priority", {"priority": -1})
    assert newcomer.status is Status.RUNNING and gang[1].status is Status.WAITING


def _one_gave_way(order, options):
    """The second of a gang waits with a newcomer that the order prefers; there is room for one of them."""
    harness = Harness(num_blocks=8, order=order)
    gang = searching(harness, 2, [1] * 8)
    harness.scheduler._preempt(gang[1], "for the test")
    harness.now_s += 1
    newcomer = harness.add([2] * 13, max_tokens=1, **options)
    harness.scheduler.schedule()
    harness.scheduler.check_integrity()
    return gang, newcomer
