"""Pinned beginnings stay for their time, and never in the way of a request that needs the room."""

from redline.core.pins import Pins
from redline.core.sequence import Status
from tests.core.harness import Harness

PROMPT = [1, 2] * 8


def pinned(pin_s=10.0, **options):
    """A harness whose cache has PROMPT pinned."""
    harness = Harness(**{"block_size": 4, "num_blocks": 12, **options})
    harness.add(PROMPT, max_tokens=2, pin_s=pin_s)
    harness.run()
    harness.check()
    return harness


def cached(harness, prompt=PROMPT):
    return len(harness.prefix.match([*prompt, 0])[0])


def test_a_pinned_beginning_outlives_what_was_used_later():
    harness = pinned()
    for token in range(5, 9):
        harness.add([token] * 24, max_tokens=1)
        harness.run()
    assert cached(harness) == 4 and len(harness.scheduler.pins) == 1
    assert harness.prefix.num_evicted_blocks > 6


def test_it_can_be_evicted_when_its_time_is_over():
    harness = pinned(pin_s=2.0)
    harness.now_s += 1.9
    harness.step()
    harness.prefix.evict(12)
    assert cached(harness) == 4
    harness.now_s += 0.2
    harness.step()
    harness.prefix.evict(12)
    assert cached(harness) == 0
    harness.check_idle()


def test_without_a_pin_nothing_is_held():
    harness = pinned(pin_s=0.0)
    assert not len(harness.scheduler.pins)
    harness.check_idle()


def test_pins_give_way_to_a_request_that_would_not_fit():
    harness = pinned(max_context=48)
    harness.add([3] * 44, max_tokens=4)
    harness.run()
    harness.check_outputs()
    assert not len(harness.scheduler.pins)


def test_pins_give_way_to_a_request_that_grows():
    harness = pinned(max_context=48)
    harness.add([3] * 20, max_tokens=28)
    harness.run()
    harness.check_outputs()
    assert not len(harness.scheduler.pins)


def test_pins_hold_no_more_than_half_of_the_cache():
    harness = pinned()
    harness.now_s += 1
    harness.add([7] * 16, max_tokens=1, pin_s=10.0)
    harness.run()
    assert cached(harness, [7] * 16) == 4
    assert len(harness.scheduler.pins) == 1, "the one that ends first gave way"
    harness.add([8] * 28, max_tokens=1, pin_s=10.0)
    harness.run()
    assert len(harness.scheduler.pins) == 1, "what is too large alone is not pinned"


def test_a_beginning_that_is_pinned_again_is_held_once_and_until_the_later_time():
    harness = pinned(pin_s=10.0)
    [first, *_] = harness.prefix.match([*PROMPT, 0])[0]
    refs = harness.pool.refcount(first)
    for pin_s in (20.0, 5.0, 5.0):
        harness.add(PROMPT, max_tokens=2, pin_s=pin_s)
        harness.run()
    assert len(harness.scheduler.pins) == 1 and harness.pool.refcount(first) == refs
    harness.now_s += 19
    harness.step()
    assert len(harness.scheduler.pins) == 1
    harness.now_s += 2
    harness.step()
    assert not len(harness.scheduler.pins)
    harness.check_idle()


def test_pins_that_begin_alike_are_counted_by_their_blocks():
    """Two turns of a conversation in a cache of 16 blocks: 6 blocks of both, and one that has no room."""
    harness = pinned(num_blocks=16)
    harness.add(PROMPT + [3] * 8, max_tokens=1, pin_s=20.0)
    harness.run()
    assert len(harness.scheduler.pins) == 2
    harness.add([5] * 12, max_tokens=1, pin_s=30.0)
    harness.run()
    assert len(harness.scheduler.pins) == 1, "both turns gave way, one after the other"
    assert cached(harness, [5] * 12) == 3
    harness.check()


def test_pins_of_windows_hold_what_is_there():
    harness = pinned(windows=((0, 0), (5, 0)))
    harness.prefix.evict(12)
    harness.prefix.evict(12, group=1)
    assert cached(harness) == 4
    harness.now_s += 11
    harness.step()
    harness.check_idle()


def test_nothing_to_hold_is_no_pin():
    harness = Harness(block_size=4)
    pins = Pins(harness.pools)
    pins.add(([],), 0, 9.0)
    assert not len(pins) and not pins.give_way()


def test_whoever_was_refused_for_a_pin_is_admitted_when_it_ends():
    harness = pinned(pin_s=5.0, max_context=48)
    running = harness.add([3] * 12, max_tokens=30)
    harness.step()
    waiting = harness.add([4] * 24, max_tokens=2)
    harness.step()
    harness.step()
    assert waiting.status is Status.WAITING
    harness.now_s += 6
    harness.step()
    assert waiting.status is Status.RUNNING and running.status is Status.RUNNING
    harness.run()
    harness.check_outputs()
