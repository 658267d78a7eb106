"""Whole batches: every endpoint, bad lines, interruptions, retries."""

import asyncio
import json
import os
import random
import signal
import subprocess
import sys
import time
import tracemalloc

import pytest

from redline.batch import results as results_module
from redline.batch.results import ResultFile
from redline.errors import ConfigError, EngineDead
from tests.batch.batches import CHAT, answer_all, essence, line, question, results_of, write
from tests.server.fake_engine import FakeEngine
from tests.server.running_server import RunningServer

MODEL = {"model": "fake-model"}
MESSAGES = [{"role": "user", "content": "SAY:hi"}]


@pytest.fixture
def files(tmp_path):
    return tmp_path / "in.jsonl", tmp_path / "out.jsonl"


def essence_of(body):
    """An answer without its ids and times."""
    if isinstance(body, list):
        return [essence_of(each) for each in body]
    if not isinstance(body, dict):
        return body
    varying = ("id", "created", "created_at", "completed_at")
    return {name: essence_of(value) for name, value in body.items() if name not in varying}


def test_every_endpoint_answers_as_the_server_does(files):
    source, output = files
    bodies = {
        CHAT: {**MODEL, "messages": MESSAGES},
        "/v1/completions": {**MODEL, "prompt": "SAY:hi"},
        "/v1/embeddings": {**MODEL, "input": ["a", "b"]},
        "/v1/responses": {**MODEL, "input": "SAY:hi"},
        "/v1/messages": {**MODEL, "messages": MESSAGES, "max_tokens": 9},
    }
    summary = answer_all(write(source, [line(url, body, url) for url, body in bodies.items()]), output)
    assert (summary.total, summary.completed, summary.failed, summary.skipped) == (5, 5, 0, 0)
    found = {result["custom_id"]: result for result in results_of(output)}
    with RunningServer() as server:
        for url, body in bodies.items():
            status, _, sent = server.post(url, body)
            served, result = json.loads(sent), found[url]
            assert result["error"] is None and result["response"]["status_code"] == status == 200
            request_id = result["response"]["request_id"]
            assert result["id"] == f"batch_req_{request_id}"
            assert essence_of(result["response"]["body"]) == essence_of(served), url
    assert summary.prompt_tokens > 0 and summary.completion_tokens == 4 * 3


BAD = [
    (b"{", "invalid_json", None),
    (b"[]", "invalid_request", None),
    (b'"\xff"', "invalid_json", None),
    (b'{"custom_id": "x"}', "invalid_request", "url"),
    (line("", {}), "invalid_request", "custom_id"),
    (line("g", {}, method="GET"), "invalid_request", "method"),
    (line("u", {}, "/v1/files"), "invalid_request", "url"),
    (line("f", {}, "http://169.254.169.254/v1/chat/completions"), "invalid_request", "url"),
    (line("s", {**MODEL, "messages": MESSAGES, "stream": True}), "invalid_request", "body.stream"),
    (line("q0", {**MODEL, "messages": MESSAGES}), "duplicate_custom_id", "custom_id"),
    (b'{"a": "' + b"x" * (8 * 2**20) + b'"}', "line_too_long", None),
]


def test_bad_lines_are_errors_and_stop_nothing(files):
    source, output = files
    lines = [b"", question(0), *(bad for bad, _, _ in BAD), b"   ", question(1)]
    summary = answer_all(write(source, lines), output)
    assert (summary.total, summary.completed, summary.failed) == (len(BAD) + 2, 2, len(BAD))
    errors = {each["error"]["line"]: each for each in results_of(output) if each["error"]}
    for number, (_, code, param) in enumerate(BAD, 3):
        error = errors[number]["error"]
        assert (error["code"], error["param"], errors[number]["response"]) == (code, param, None), error
        assert (param or "line") in error["message"]
    before = output.read_bytes()
    again = answer_all(source, output)
    assert (again.skipped, again.completed, again.failed) == (len(BAD) + 2, 0, 0)
    assert output.read_bytes() == before


def test_what_the_server_refuses_is_a_response_and_nothing_is_fetched(files, monkeypatch):
    source, output = files

    def connect(*_):
        raise AssertionError("a batch opens no connections")

    monkeypatch.setattr("socket.socket.connect", connect)
    image = [
        {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "http://127.0.0.1:1/x"}}]}
    ]
    lines = [
        line("image", {**MODEL, "messages": image}),
        line("model", {"model": "other", "messages": MESSAGES}),
        line("field", {**MODEL, "messages": MESSAGES, "temperature": 9}),
    ]
    summary = answer_all(write(source, lines), output)
    assert summary.failed == 3
    found = {each["custom_id"]: each["response"] for each in results_of(output)}
    assert {name: each["status_code"] for name, each in found.items()} == {
        "image": 400,
        "model": 404,
        "field": 400,
    }
    assert found["field"]["body"]["error"]["param"] == "temperature"


def test_errors_are_kept_until_they_are_asked_again(files):
    source, output = files
    lines = [question(0), question(1, temperature=9), b"{"]
    answer_all(write(source, lines), output)
    write(source, [question(0), question(1), question(2)])
    assert answer_all(source, output).skipped == 2, "the third line has a name now, and no result under it"
    assert answer_all(source, output, retry_errors=True).completed == 1
    assert {key: status for key, (status, _) in essence(output).items()} == {"q0": 200, "q1": 200, "q2": 200}


def test_many_are_in_work_and_never_more_than_asked_for(files):
    source, output = files
    engine = FakeEngine(step_s=0.0005)
    most = 0
    original = engine.encode_chat

    def watched(*arguments, **options):
        nonlocal most
        most = max(most, len(engine.running) + len(engine.waiting))
        return original(*arguments, **options)

    engine.encode_chat = watched
    answer_all(write(source, [question(number) for number in range(40)]), output, engine, at_once=8)
    assert 4 <= most <= 8


def test_a_request_that_finds_no_room_is_asked_again(files):
    source, output = files
    texts = {"input": ["x"] * 200}
    lines = [line(f"e{n}", {**MODEL, **texts}, "/v1/embeddings") for n in range(4)]
    from redline.server.app import build_app
    from redline.server.config import ServerConfig

    app = build_app(FakeEngine(), ServerConfig(max_waiting=64))
    from redline.batch.run import run

    with write(source, lines).open("rb") as file:
        results = ResultFile(output)
        summary = asyncio.run(run(app, file, results, max_concurrency=4))
        results.close()
    assert summary.completed == 4


def test_an_engine_that_dies_ends_the_batch_and_loses_nothing(files):
    source, output = files
    write(source, [question(number) for number in range(30)])
    engine = FakeEngine()
    original = engine.encode_chat

    def dying(*arguments, **options):
        if len(engine.finished) >= 10:
            engine.die()
        return original(*arguments, **options)

    engine.encode_chat = dying
    with pytest.raises(EngineDead, match="stopped"):
        answer_all(source, output, engine)
    there = len(results_of(output))
    assert 10 <= there < 30 and not any(each["error"] for each in results_of(output))
    summary = answer_all(source, output)
    assert (summary.skipped, summary.completed) == (there, 30 - there)
    assert len(essence(output)) == 30


def test_a_torn_line_is_asked_again_wherever_it_was_torn(files):
    source, output = files
    answer_all(write(source, [question(number) for number in range(3)]), output, at_once=1)
    whole, expected = output.read_bytes(), essence(output)
    lines = whole.splitlines(keepends=True)
    start = len(whole) - len(lines[-1])
    for end in [start, start + 1, *range(start + 7, len(whole), 37), len(whole) - 1]:
        output.write_bytes(whole[:end])
        assert answer_all(source, output).completed == 1
        assert essence(output) == expected


@pytest.mark.parametrize("there", [b"hello\n", b'{"id": "x"}\n', b'{"custom_id": "a", "error": {}}\n'])
def test_a_file_with_something_else_in_it_is_left_alone(files, there):
    source, output = files
    write(source, [question(0)])
    output.write_bytes(there)
    with pytest.raises(ConfigError, match="line 1 of .* is no result"):
        answer_all(source, output)
    assert output.read_bytes() == there


def test_one_process_at_a_time(files):
    _, output = files
    results = ResultFile(output)
    with pytest.raises(ConfigError, match="another process"):
        ResultFile(output)
    results.close()
    ResultFile(output).close()


def test_a_retry_that_is_killed_while_it_cleans_up_has_changed_nothing(files, monkeypatch):
    source, output = files
    answer_all(write(source, [question(0), question(1, temperature=9)]), output)
    before = output.read_bytes()
    monkeypatch.setattr(results_module.Path, "replace", lambda *_: (_ for _ in ()).throw(OSError("killed")))
    with pytest.raises(OSError, match="killed"):
        ResultFile(output, retry_errors=True)
    monkeypatch.undo()
    assert output.read_bytes() == before
    ResultFile(output, retry_errors=True).close()
    assert [each["custom_id"] for each in results_of(output)] == ["q0"]


def test_memory_does_not_grow_with_the_file(files):
    source, output = files

    def peak(num_lines):
        output.unlink(missing_ok=True)
        write(source, [line("same", {}, "/v1/files")] * num_lines)
        tracemalloc.start()
        answer_all(source, output)
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return most

    peak(100)
    few, many = peak(200), peak(1200)
    assert many < few + 100_000, (few, many)


RUN = """
import sys
from pathlib import Path
from tests.batch.batches import answer_all
from tests.server.fake_engine import FakeEngine
print("started", flush=True)
answer_all(Path(sys.argv[1]), Path(sys.argv[2]), FakeEngine(step_s=0.001))
"""


def test_killed_at_any_moment_nothing_is_lost_or_doubled(files, tmp_path):
    source, output = files
    lines = [question(number) for number in range(60)]
    lines[20:20] = [b"{", question(3), line("x", {}, "/nowhere")]
    write(source, lines)
    undisturbed = tmp_path / "undisturbed.jsonl"
    answer_all(source, undisturbed)
    dice = random.Random(5)
    kills = 0
    while True:
        command = [sys.executable, "-c", RUN, str(source), str(output)]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
            process.stdout.readline()
            time.sleep(dice.uniform(0, 0.3 + kills / 4))  # at last long enough to end
            if process.poll() is None:
                os.kill(process.pid, signal.SIGKILL)
        if process.returncode == 0:
            break
        assert process.returncode == -signal.SIGKILL
        kills += 1
    assert kills >= 1 and essence(output) == essence(undisturbed)
