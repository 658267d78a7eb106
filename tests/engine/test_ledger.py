"""The laws of conservation, on counts made up and on the real engine under load."""

import random

import pytest

from redline import LLM, SamplingParams
from redline.engine.ledger import Counts, Ledger
from redline.engine.request import RequestOptions
from redline.errors import CapacityError, QueueFull, RequestError
from tests.model_file import smollm2


class Clock:
    now_s = 100.0

    def __call__(self):
        return self.now_s


def test_counts_add_up_at_any_time():
    clock, dice = Clock(), random.Random(1)
    ledger, open_since = Ledger(clock), []
    for _ in range(500):
        clock.now_s += dice.random()
        if open_since and dice.random() < 0.5:
            arrived_s = open_since.pop(dice.randrange(len(open_since)))
            ledger.end(dice.choice(["finished", "aborted", "refused"]), arrived_s)
        else:
            open_since.append(ledger.arrive())
        counts = ledger.counts()
        counts.check()
        assert counts.in_flight == len(open_since)


def test_the_means_are_those_of_a_queue_worked_out_by_hand():
    clock = Clock()
    ledger = Ledger(clock)
    first = ledger.arrive()
    clock.now_s += 2
    ledger.arrive()
    clock.now_s += 2
    ledger.end("finished", first)  # after 4 s
    clock.now_s += 4  # the second has been there for 6 s
    counts = ledger.counts()
    assert (counts.elapsed_s, counts.mean_in_flight, counts.mean_s) == (8.0, 10 / 8, 5.0)
    assert counts.arrivals_per_s == 2 / 8
    counts.check()


def test_nothing_yet_is_no_violation():
    Ledger(Clock()).counts().check()


@pytest.mark.parametrize(
    "wrong",
    [
        Counts(arrived=2, finished=1),
        Counts(arrived=1, finished=1, in_flight=1),
        Counts(arrived=1, in_flight=1, elapsed_s=2.0, mean_in_flight=1.0, mean_s=1.0),
    ],
)
def test_a_lost_request_is_seen(wrong):
    with pytest.raises(AssertionError):
        wrong.check()


@pytest.mark.model
def test_the_engine_loses_no_request():
    """Requests that end, are aborted, are refused in three ways, or still run."""
    llm = LLM(str(smollm2()), max_context=128, kv_memory="4MiB", max_batch=3, max_waiting=6)
    engine, dice = llm._engine, random.Random(2)
    refused = 0
    for index in range(60):
        prompt = [dice.randrange(1000) for _ in range(dice.randrange(1, 40))]
        request_id = str(index if dice.random() < 0.9 else index - 1)
        try:
            max_tokens = 500 if dice.random() < 0.1 else 4
            engine.add(request_id, prompt, SamplingParams(max_tokens=max_tokens, n=2, ignore_eos=True))
        except (RequestError, CapacityError, QueueFull):
            refused += 1
        if dice.random() < 0.5:
            engine.step()
        if dice.random() < 0.2:
            engine.abort(str(dice.randrange(index + 1)))
        counts = engine.stats().requests
        counts.check()
        assert counts.in_flight == len(engine._requests) and counts.refused == refused
    assert refused >= 5
    while engine.has_work:
        engine.step()
    counts = engine.stats().requests
    counts.check()
    assert counts.in_flight == 0 and counts.arrived == 60 and min(counts.finished, counts.aborted) >= 3


@pytest.mark.parametrize("options", [{"deadline_s": -1.0}, {"pin_s": -1.0}, {"pin_s": float("nan")}])
def test_times_that_are_none_are_refused(options):
    (name,) = options
    with pytest.raises(RequestError, match=f"{name} is "):
        RequestOptions(**options)
