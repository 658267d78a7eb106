"""A look at the real engine in the middle of its work."""

import pytest

from redline import LLM, SamplingParams
from redline.core.roofline import Roofline
from redline.core.trace import Event
from redline.engine.request import RequestOptions
from redline.engine.snapshot import Drafts, drafts_of
from tests.model_file import smollm2

pytestmark = pytest.mark.model


@pytest.fixture(scope="module")
def llm():
    return LLM(str(smollm2()), max_context=256, max_batch=2, kv_memory="16MiB", chunked_prefill=32)


def add(llm, request_id, num_tokens, **options):
    params = SamplingParams(max_tokens=4, temperature=0, ignore_eos=True, **options)
    llm._engine.add(request_id, [5 + len(request_id)] * num_tokens, params, RequestOptions(tenant=request_id))


def finish(llm):
    while llm._engine.has_work:
        llm._engine.step()


def test_says_what_each_request_is_at(llm):
    for name, length in (("a", 20), ("bb", 120), ("ccc", 9)):
        add(llm, name, length)
    llm._engine.step()
    llm._engine.step()
    seen = llm.snapshot()
    states = {each.request_id: each for each in seen.requests}
    assert {name: each.state for name, each in states.items()} == {
        "a": "decode",
        "bb": "prefill",
        "ccc": "waiting",
    }
    assert (states["a"].prompt_tokens, states["a"].output_tokens, states["a"].tenant) == (20, 2, "a")
    assert 0 < states["bb"].computed_tokens < 120 and states["bb"].output_tokens == 0
    assert (seen.stats.running, seen.stats.waiting, seen.max_batch) == (2, 1, 2)
    assert seen.pools[0].counts["used"] >= 3
    finish(llm)
    after = llm.snapshot()
    assert after.requests == [] and after.pools[0].counts["used"] == 0 < after.pools[0].counts["cached"]


def test_tells_what_is_new(llm):
    start = llm.snapshot().next_event
    add(llm, "again", 40)
    finish(llm)
    seen = llm.snapshot(start)
    assert [each.kind for each in seen.decisions] == ["queue", "admit", "finish"]
    assert {each.request_id for each in seen.decisions} == {"again"}
    assert seen.decisions[0].text == "queued with a prompt of 40 tokens, 0 requests waiting already"
    assert sum(each.prompt_tokens for each in seen.steps) == 40
    assert sum(each.num_decodes for each in seen.steps) == 3
    assert seen.steps[0].least_s is None
    assert llm.snapshot(seen.next_event).steps == []


def test_counts_the_beams_of_a_search(llm):
    start = llm.snapshot().next_event
    add(llm, "beams", 8, use_beam_search=True, best_of=2)
    llm._engine.step()
    llm._engine.step()
    (each,) = llm.snapshot(start).requests
    assert (each.state, each.num_choices) == ("decode", 2)
    finish(llm)


def test_tells_the_least_time_of_a_step_where_the_machine_is_known(llm):
    start = llm.snapshot().next_event
    llm.roofline = Roofline(
        read_bytes_s=1e9,
        macs_s=1e30,
        weight_bytes=10**7,
        kv_bytes=0,
        layer_macs=1,
        output_macs=1,
        attention_macs=1,
    )
    add(llm, "known", 4)
    finish(llm)
    steps = llm.snapshot(start).steps
    llm.roofline = None
    assert steps and all(each.least_s == pytest.approx(0.01) for each in steps)


def test_adds_up_the_drafts_of_a_step():
    events = [
        Event(0.0, 3, 0, "draft", (4, 1)),
        Event(0.0, 3, 1, "draft", (2, 2)),
        Event(0.0, 3, 1, "finish", ("stop", 9)),
        Event(0.0, 4, 0, "draft", (1, 0)),
    ]
    assert drafts_of(events) == [Drafts(3, 6, 3), Drafts(4, 1, 0)]
