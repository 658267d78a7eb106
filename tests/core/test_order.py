"""Who is admitted first under each order. The random tests say that none of them changes a token."""

from redline.core.fairness import FairOrder
from redline.core.order import MAX_LOOKUPS, TOKENS_PER_SECOND
from redline.core.sequence import Status
from tests.core.harness import Harness


def admitted(harness):
    """Sequences in the order of their first step."""
    first = {}
    for step, plan in enumerate(harness.plans):
        for place, item in enumerate(plan.items):
            first.setdefault(item.seq, (step, place))
    return sorted(first, key=first.get)


def test_shortest_prompt_first():
    harness = Harness(max_batch=1, order="shortest")
    seqs = [harness.add([1] * length, max_tokens=1) for length in (9, 3, 5)]
    harness.run()
    assert admitted(harness) == [seqs[1], seqs[2], seqs[0]]


def test_a_long_prompt_waits_only_so_long_for_short_ones():
    harness = Harness(max_batch=1, order="shortest")
    harness.add([1], max_tokens=4)
    harness.step()
    long = harness.add([1] * 60, max_tokens=1)
    harness.now_s += 60 / TOKENS_PER_SECOND
    late = harness.add([1], max_tokens=1)
    harness.run()
    assert admitted(harness)[1:] == [long, late]


def test_earliest_deadline_first_and_none_last():
    harness = Harness(max_batch=1, order="deadline")
    seqs = [harness.add([1], max_tokens=1, deadline_s=deadline) for deadline in (None, 9.0, 2.0)]
    harness.run()
    assert admitted(harness) == [seqs[2], seqs[1], seqs[0]]


def test_the_longest_match_goes_first():
    harness = Harness(max_batch=1, order="longest_prefix")
    harness.add([7] * 12, max_tokens=1)
    harness.run()
    other, near, far = (
        harness.add(prompt, max_tokens=1) for prompt in ([1] * 12, [7] * 11 + [1], [7] * 5 + [1] * 7)
    )
    harness.run()
    assert admitted(harness)[1:] == [near, far, other]


def test_lookups_of_a_step_are_bounded(monkeypatch):
    harness = Harness(max_batch=1, order="longest_prefix")
    for _ in range(MAX_LOOKUPS + 20):
        harness.add([1] * 9, max_tokens=1)
    lookups = []
    match = harness.prefix.match
    monkeypatch.setattr(harness.prefix, "match", lambda *args: lookups.append(args) or match(*args))
    harness.step()
    assert len(lookups) == MAX_LOOKUPS + 1  # and the one that is admitted


def test_priority_goes_before_every_order():
    for order in ("fcfs", "priority", "shortest", "longest_prefix", "fair", "deadline"):
        harness = Harness(max_batch=1, order=order)
        later = harness.add([1], max_tokens=1, priority=1)
        first = harness.add([1] * 9, max_tokens=1, tenant="a")
        harness.run()
        assert admitted(harness) == [first, later], order


def test_an_urgent_request_takes_a_place_in_a_full_batch():
    harness = Harness(max_batch=2, order="priority")
    earlier, later = (harness.add([n] * 5, max_tokens=9, priority=1) for n in range(2))
    harness.step()
    urgent = harness.add([3] * 5, max_tokens=2)
    plan = harness.step()
    assert [item.seq for item in plan.items] == [earlier, urgent] and later.status is Status.WAITING
    harness.run()
    assert (later.num_preemptions, earlier.num_preemptions) == (1, 0)
    harness.check_outputs()


def test_an_urgent_request_takes_blocks():
    harness = Harness(max_batch=4, num_blocks=6, block_size=4, order="priority", max_context=24)
    running = harness.add([1] * 17, max_tokens=3, priority=2)
    harness.step()
    urgent = harness.add([2] * 17, max_tokens=2, priority=1)
    harness.step()
    assert (urgent.status, running.status) == (Status.RUNNING, Status.WAITING)
    harness.run()
    harness.check_outputs()


def test_equals_are_not_displaced():
    harness = Harness(max_batch=1, order="priority")
    first = harness.add([1], max_tokens=5, priority=1)
    harness.step()
    harness.add([2], max_tokens=1, priority=1)
    harness.step()
    assert first.status is Status.RUNNING


def test_tenants_take_turns_however_many_requests_one_has():
    harness = Harness(max_batch=1, order="fair")
    many = [harness.add([1] * 8, max_tokens=4, tenant="many") for _ in range(6)]
    few = [harness.add([2] * 8, max_tokens=4, tenant="few") for _ in range(2)]
    harness.run()
    assert admitted(harness)[:4] == [many[0], few[0], many[1], few[1]]


def test_a_tenant_that_used_more_waits_longer():
    harness = Harness(max_batch=1, order="fair")
    big = [harness.add([1] * 40, max_tokens=1, tenant="big") for _ in range(2)]
    small = [harness.add([n] * 8, max_tokens=1, tenant="small") for n in range(2, 6)]
    harness.run()
    order = admitted(harness)
    assert order[0] is big[0] and order.index(big[1]) > order.index(small[2])


def test_time_away_is_not_saved_up():
    harness = Harness(max_batch=1, order="fair")
    harness.add([1] * 8, max_tokens=1, tenant="early")
    harness.run()
    for n in range(10, 13):
        harness.add([n] * 40, max_tokens=8, tenant="busy")
    harness.step()
    back = [harness.add([n] * 40, max_tokens=8, tenant="early") for n in range(3, 6)]
    harness.run()
    order = admitted(harness)[1:]
    assert [seq.tenant for seq in order] == ["busy", "early", "busy", "early", "busy", "early"], back


def test_counters_of_tenants_that_are_gone_are_forgotten():
    order = FairOrder()
    harness = Harness()
    for n in range(5000):
        seq = harness.new([1], tenant=str(n))
        order.arrived(seq)
        order.admitted(seq, 1)
        order.ended(seq)
        stays = harness.new([1], tenant="stays")
        order.arrived(stays)
        order.admitted(stays, 3)
    assert len(order._served) < 2100
