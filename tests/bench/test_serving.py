from __future__ import annotations

import asyncio
import json
import shutil
import socket
import ssl
import threading
import time

import pytest

from redline.bench.serving import failure
from redline.bench.serving.arrivals import Closed, Open, gamma, replayed
from redline.bench.serving.call import Timeouts
from redline.bench.serving.connection import Connection
from redline.bench.serving.endpoint import Endpoint
from redline.bench.serving.failure import Failed
from redline.bench.serving.generator import generate_load
from redline.bench.serving.mock_endpoint import MockEndpoint
from redline.bench.serving.slo import Slo
from redline.bench.serving.summary import summarise
from redline.bench.workloads import Request, Workload
from redline.errors import ConfigError
from tests.bench.faulty_server import ANSWERS, FaultyServer
from tests.server.test_tls import make

FOUR, SHORT = Closed(4), Timeouts(stall_s=0.3)


def asking(*sessions: list[str] | str) -> Workload:
    """A workload whose messages say how to answer."""
    listed = [[each] if isinstance(each, str) else each for each in sessions]
    made = tuple(tuple(Request(({"role": "user", "content": c},), 3) for c in each) for each in listed)
    return Workload("asking", "", made)


def load(url: str, workload: Workload, arrivals=FOUR, timeouts: Timeouts = SHORT, **options):
    endpoint = Endpoint(base_url=url, model="small", **options)

    async def run():
        return await generate_load(endpoint, workload, arrivals, timeouts, asyncio.Event())

    return asyncio.run(run())


def test_every_failure_is_counted_by_kind_and_the_rest_goes_on() -> None:
    with FaultyServer() as server:
        run = load(server.url, asking(*[name for name in ANSWERS for _ in range(3)], "good"))
    report = summarise([run], [], len(run.outcomes), Slo.parse("ttft=60"), None)
    counts = {kind: row["count"] for kind, row in report["failures"].items()}
    assert counts == {
        failure.STALLED: 3, failure.NO_ANSWER: 3, failure.CLOSED_EARLY: 9, failure.BAD_EVENT: 3,
        failure.ERROR_EVENT: 3, "HTTP 429": 3, "HTTP 503": 3, failure.EMPTY: 3, failure.BAD_HTTP: 3,
    }  # fmt: skip
    assert report["failures"]["HTTP 503"]["retry_after_s"] == 1
    assert report["failures"]["HTTP 429"]["first"] == "full"
    assert report["num_done"] == 7 and report["usage"]["doubts"] == {"fewer tokens than chunks": 3}
    assert report["usage"]["output_tokens"] == 4 * 3 + 3 * 2  # chunks where usage lies
    assert report["metrics"]["good_share"]["values"] == [7 / 40]
    assert report["metrics"]["failed_share"]["values"] == [33 / 40]
    assert len(report["requests"]) == 40 and json.dumps(report)


def test_nobody_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    run = load(f"http://127.0.0.1:{port}", asking("good", "good"))
    assert [each.failure.kind for each in run.outcomes if each.failure] == [failure.CONNECT] * 2


def test_connections_are_used_again() -> None:
    with FaultyServer() as server:
        run = load(server.url, asking(*["good"] * 6), Closed(1))
    assert [each.connect_s > 0 for each in run.outcomes] == [True] + [False] * 5


@pytest.mark.parametrize("arrivals", [Open((0.0, 0.0), "two"), Closed(2), Closed(1)])
def test_turns_of_a_session_wait_for_each_other_and_end_with_a_failure(arrivals) -> None:
    with FaultyServer() as server:
        run = load(server.url, asking(["good", "good"], ["429", "good"]), arrivals)
    by_place = {each.place: each for each in run.outcomes}
    assert sorted(by_place) == [0, 1, 2]
    assert by_place[1].sent_s >= by_place[0].end_s
    assert summarise([run], [], 4, None, None)["num_unsent"] == 1


def test_the_body_is_what_an_openai_client_sends() -> None:
    with FaultyServer() as server:
        load(server.url + "/v1/", asking("good"), api_key="sk-1", ignore_eos=True,
             extra_body={"top_p": 0.5, "temperature": None})  # fmt: skip
    (body,) = server.asked
    assert body == {"model": "small", "messages": [{"role": "user", "content": "good"}], "max_tokens": 3,
                    "stream": True, "stream_options": {"include_usage": True}, "ignore_eos": True,
                    "top_p": 0.5}  # fmt: skip
    assert server.keys == ["bearer sk-1"]


def test_completions_get_plain_text() -> None:
    request = Request(({"role": "system", "content": "a"}, {"role": "user", "content": "b"}), 3)
    endpoint = Endpoint(base_url="http://x/prefix/v1", model="m", api="completions")
    assert endpoint.body(request)["prompt"] == "a\n\nb" and "messages" not in endpoint.body(request)
    assert endpoint.post(request).startswith(b"POST /prefix/v1/completions HTTP/1.1\r\nhost: x\r\n")


@pytest.mark.parametrize("url", ["localhost:8000", "ftp://x", "http://", "http://x:port", "http://x?a=b"])
def test_addresses_that_cannot_be_are_refused(url: str) -> None:
    with pytest.raises(ConfigError, match="base_url is"):
        Endpoint(base_url=url, model="m")


def test_a_key_cannot_smuggle_headers() -> None:
    with pytest.raises(ConfigError, match="API key has characters"):
        Endpoint(base_url="http://x", model="m", api_key="a\r\nx: y")


def test_arrivals_have_the_rate_and_the_burstiness_that_was_asked_for() -> None:
    for burstiness, spread in ((0.25, 2.0), (1.0, 1.0), (4.0, 0.5)):
        times = gamma(20_000, 50.0, burstiness).times_s
        gaps = [after - before for before, after in zip(times, times[1:], strict=False)]
        mean = sum(gaps) / len(gaps)
        deviation = (sum((gap - mean) ** 2 for gap in gaps) / len(gaps)) ** 0.5
        assert mean == pytest.approx(1 / 50, rel=0.04) and deviation / mean == pytest.approx(spread, rel=0.06)
    assert gamma(5, 1.0, seed=1) == gamma(5, 1.0, seed=1) != gamma(5, 1.0, seed=2)
    assert replayed((0.0, 6.0), 2.0, "t").times_s == (0.0, 3.0)


def test_requests_of_an_open_loop_do_not_wait_for_each_other() -> None:
    with FaultyServer() as server:
        run = load(server.url, asking("stalls", "stalls", "good"), Open((0.0, 0.01, 0.02), "three"))
    stalled = [each for each in run.outcomes if each.failure]
    (good,) = (each for each in run.outcomes if each.done)
    assert all(good.end_s < each.end_s for each in stalled)


def test_the_kernel_says_when_bytes_came_however_late_they_are_read() -> None:
    """A packet is read long after it came: its date is that of its coming."""

    async def run() -> list[tuple[bytes, float, float | None, float]]:
        listener = socket.create_server(("127.0.0.1", 0))
        got: list[tuple[bytes, float, float | None, float]] = []
        connection = await Connection.open(listener.getsockname(), None, 5.0)
        peer, _ = listener.accept()
        connection.start_reading(lambda *read: got.append((*read, time.perf_counter())), print)
        for number, text in enumerate((b"first", b"one", b"two"), 1):  # the first may come too soon
            peer.sendall(text)
            threading.Event().wait(0.2)  # the event loop is held up, as by a thousand other streams
            while len(got) < number:
                await asyncio.sleep(0)
        connection.close()
        peer.close()
        listener.close()
        return got[1:]

    for text, at_s, lag_s, read_s in asyncio.run(run()):
        assert text in (b"one", b"two") and lag_s is not None and lag_s >= 0.19
        assert read_s - at_s >= lag_s


@pytest.mark.skipif(shutil.which("openssl") is None, reason="makes certificates with openssl")
def test_tls_is_spoken_and_certificates_are_checked(tmp_path, monkeypatch) -> None:
    cert, key = make(tmp_path, "server")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(cert, key)
    with FaultyServer(tls=context) as server:
        (outcome,) = load(server.url, asking("good")).outcomes
        assert outcome.failure is not None and "certificate verify failed" in outcome.failure.detail
        monkeypatch.setenv("SSL_CERT_FILE", str(cert))
        run = load(server.url, asking(*["good"] * 3), Closed(1))
    assert all(each.done for each in run.outcomes) and len(run.outcomes) == 3


def test_slo() -> None:
    slo = Slo.parse("ttft=0.5, tpot=0.05")
    assert slo is not None and str(slo) == "TTFT <= 500 ms, TPOT <= 50 ms"
    times = {"ttft": 0.5, "tpot": 0.05, "tbt": 9.0, "e2e": 9.0}
    assert slo.met(times) and slo.met({**times, "tpot": None})
    assert not slo.met({**times, "ttft": 0.51}) and not slo.met({**times, "tpot": 0.051})


@pytest.mark.parametrize("text", ["fast=1", "ttft", "ttft=0", "ttft=x", "ttft=inf", "", "ttft=1,,"])
def test_wrong_slos_are_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="--slo"):
        Slo.parse(text)


def test_the_mock_server_is_measured_to_say_what_it_does(tmp_path) -> None:
    """Each stream has as many chunks as were asked for, at the moments that the server noted."""
    with (tmp_path / "log").open("w") as log:
        mock = MockEndpoint(0.02, 0.005, log=log)
        thread = threading.Thread(target=mock.serve)
        thread.start()
        try:
            run = load(mock.url, asking(*["x"] * 8), Closed(8))
        finally:
            mock.stop()
            thread.join()
    assert all(each.done and len(each.answer.chunk_s) == 3 for each in run.outcomes)
    lines = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    assert len(lines) == 8 and all(line["sent_s"][0] - line["came_s"] >= 0.02 for line in lines)
    assert all(each.answer.chunk_s[0] - each.sent_s >= 0.02 for each in run.outcomes)


def test_an_interrupt_keeps_what_there_is() -> None:
    async def run(url: str):
        stop = asyncio.Event()
        workload = asking("good", "good", *["stalls"] * 4)
        task = asyncio.create_task(
            generate_load(Endpoint(base_url=url, model="small"), workload, Closed(2), Timeouts(), stop)
        )
        while len(server.asked) < 4:
            await asyncio.sleep(0.01)
        stop.set()
        return await task

    with FaultyServer() as server:
        made = asyncio.run(run(server.url))
    report = summarise([made], [], 6, None, None)
    assert made.interrupted and report["num_done"] == 2
    assert (report["num_cut_off"], report["num_unsent"], report["failures"]) == (2, 2, {})


def test_failed_is_readable() -> None:
    assert str(Failed("stalled", "a\n b" + "c" * 300)).startswith("stalled: a")
    assert len(Failed("stalled", "a\n b" + "c" * 300).detail) == failure.LONGEST_DETAIL
