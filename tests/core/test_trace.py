"""What the trace says about decisions, and the words for it."""

from redline.core.explain import explain
from redline.core.trace import EVERYONE, Event, NullTrace, RingTrace, of_sequence
from tests.core.harness import Harness


def story(harness, seq):
    """The kinds and values of one sequence's events."""
    events = harness.scheduler.trace.events()
    return [(event.kind, *event.values) for event in of_sequence(events, seq.seq_id)]


def test_tells_queue_admission_chunks_and_end():
    harness = Harness(token_budget=8, block_size=4)
    harness.add([1] * 10, max_tokens=1)
    harness.run()
    seq = harness.add([1] * 6 + [2] * 9, max_tokens=2)
    harness.run()
    assert story(harness, seq) == [
        ("queue", 15, 0),
        ("admit", 6, 9),
        ("chunk", 6, 8),
        ("finish", "length", 2),
    ]


def test_tells_who_did_not_fit_and_who_gave_way():
    harness = Harness(num_blocks=6, block_size=4, max_context=24)
    first = harness.add([1] * 12, max_tokens=12)
    second = harness.add([2] * 8, max_tokens=4)
    third = harness.add([0] * 12, max_tokens=1)
    harness.run()
    assert story(harness, third)[1] == ("refuse", 5, 0)
    assert [event[0] for event in story(harness, second)].count("preempt") == second.num_preemptions > 0
    assert not [event for event in story(harness, first) if event[0] == "preempt"]


def test_tells_of_a_more_urgent_one():
    harness = Harness(max_batch=1, order="priority")
    displaced = harness.add([1] * 5, max_tokens=5, priority=1)
    harness.step()
    harness.add([2], max_tokens=1)
    harness.run()
    assert ("preempt", 5, "an earlier or more urgent request took its place") in story(harness, displaced)


def test_every_step_has_its_composition():
    harness = Harness(token_budget=8)
    harness.add([1, 1], max_tokens=5)
    harness.step()
    harness.add([2] * 9, max_tokens=5)
    harness.run()
    steps = [event for event in harness.scheduler.trace.events() if event.kind == "step"]
    assert all(event.seq_id == EVERYONE for event in steps)
    assert [event.values[:4] for event in steps[:2]] == [(0, 2, 1, 0), (1, 7, 2, 0)]
    assert len(steps) == len(harness.plans)
    assert [event.step for event in steps] == sorted({event.step for event in steps})


def test_evictions_are_counted():
    harness = Harness(num_blocks=6, block_size=4, max_context=24)
    for n in range(4):
        harness.add([n] * 16, max_tokens=1)
        harness.run()
    events = [event for event in harness.scheduler.trace.events() if event.kind == "evict"]
    assert sum(event.values[0] for event in events) == harness.prefix.num_evicted_blocks > 0


def test_the_ring_forgets_the_oldest():
    trace = RingTrace(3, lambda: 0.0)
    for n in range(5):
        trace.record(n, "finish", "stop", n)
    assert [event.seq_id for event in trace.events()] == [2, 3, 4]


def test_what_is_new_since_the_last_look():
    trace = RingTrace(4, lambda: 0.0)
    assert trace.since(0, 10) == ([], 0)
    for n in range(3):
        trace.record(n, "finish", "stop", n)
    events, following = trace.since(1, 10)
    assert [event.values for event in events] == [("stop", 1), ("stop", 2)] and following == 3
    assert trace.since(following, 10) == ([], 3)
    for n in range(3, 9):
        trace.record(n, "finish", "stop", n)
    assert [event.seq_id for event in trace.since(following, 10)[0]] == [5, 6, 7, 8]  # the ring has no more
    assert [event.seq_id for event in trace.since(0, 2)[0]] == [7, 8]
    assert trace.since(0, 10)[0] == trace.events()
    assert NullTrace().since(0, 10) == ([], 0)


def test_words_for_every_kind():
    harness = Harness(num_blocks=6, block_size=4, max_context=24)
    harness.add([1] * 12, max_tokens=12)
    second = harness.add([2] * 8, max_tokens=4)
    harness.now_s = 1.25
    harness.run()
    lines = explain(of_sequence(harness.scheduler.trace.events(), second.seq_id))
    assert lines[0] == "+0.000 s: queued with a prompt of 8 tokens, 1 request waiting already"
    assert lines[1] == "+1.250 s: admitted; nothing of it was cached, 8 tokens to compute"
    assert "gave way in step" in " ".join(lines) and "ended (length) after 4 output tokens" in lines[-1]
    again = harness.add([2] * 6 + [0] * 3, max_tokens=1)
    harness.run()
    lines = explain(of_sequence(harness.scheduler.trace.events(), again.seq_id))
    assert "6 tokens were cached, where the nearest cached text goes another way; 3 tokens" in lines[1]
    assert explain([]) == []


def test_keeps_the_latest_as_they_were_recorded():
    now = iter(range(100))
    trace = RingTrace(4, lambda: next(now) / 8)
    for index in range(7):
        trace.next_step()
        trace.record(index - 1, "preempt", 10**9 + index, f"reason {index % 3}")
    trace.record(2**40, "evict")
    assert trace.events() == [
        Event(index / 8, index + 1, index - 1, "preempt", (10**9 + index, f"reason {index % 3}"))
        for index in (4, 5, 6)
    ] + [Event(7 / 8, 7, 2**40, "evict", ())]


def test_tells_of_guessing_while_a_sequence_was_here():
    def guess(time_s, outcome):
        return Event(time_s, int(time_s), EVERYONE, "guess", ("ngram", outcome))

    events = [
        guess(1.0, "drafted"),
        guess(2.0, "does not pay"),
        Event(3.0, 3, 7, "queue", (5, 0)),
        guess(4.0, "drafted"),
        Event(5.0, 5, 7, "finish", ("stop", 3)),
        guess(6.0, "no rows to spare"),
    ]
    assert explain(of_sequence(events, 7)) == [
        "+0.000 s: queued with a prompt of 5 tokens, 0 requests waiting already",
        "+0.000 s: from step 2 on, guessing ahead (ngram): does not pay",
        "+1.000 s: from step 4 on, guessing ahead (ngram): drafted",
        "+2.000 s: ended (stop) after 3 output tokens",
    ]
    assert of_sequence(events, 8) == []
