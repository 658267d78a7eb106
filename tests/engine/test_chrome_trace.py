"""The Chrome trace of a run."""

import json

from redline.engine.chrome_trace import ENGINE, SEQUENCES, write_chrome_trace
from tests.core.harness import Harness


def written(tmp_path, harness):
    path = tmp_path / "trace.json"
    write_chrome_trace(path, harness.scheduler.trace.events())
    return json.loads(path.read_text())["traceEvents"]


def test_phases_of_a_sequence_follow_each_other(tmp_path):
    harness = Harness(max_batch=1, order="priority")
    seq = harness.add([1] * 5, max_tokens=5, priority=1)
    harness.now_s = 1.0
    harness.step()
    harness.now_s = 2.0
    harness.add([2], max_tokens=1)
    harness.step()
    harness.now_s = 3.0
    harness.run()
    events = written(tmp_path, harness)
    slices = [event for event in events if event["ph"] == "X" and event["tid"] == seq.seq_id]
    assert [(event["name"], event["ts"], event["dur"]) for event in slices] == [
        ("queued", 0, 1e6),
        ("running", 1e6, 1e6),
        ("preempted", 2e6, 1e6),
        ("running", 3e6, 0),
    ]
    assert all(event["pid"] == SEQUENCES for event in slices)


def test_steps_are_counters(tmp_path):
    harness = Harness()
    harness.add([1] * 5, max_tokens=3)
    harness.run()
    counters = [event for event in written(tmp_path, harness) if event["ph"] == "C"]
    assert {event["name"] for event in counters} == {"tokens", "sequences", "blocks"}
    tokens = [event["args"] for event in counters if event["name"] == "tokens"]
    assert tokens == [{"decode": 0, "prompt": 5}, {"decode": 1, "prompt": 0}, {"decode": 1, "prompt": 0}]
    assert all(event["pid"] == ENGINE for event in counters)
