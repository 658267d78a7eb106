"""Traces of requests, as a collector gets them: the real SDK, OTLP over HTTP, the bytes taken apart."""

import http.server
import socket
import subprocess
import sys
import threading

import pytest

from redline.errors import ConfigError
from redline.server import tracing
from redline.server.tracing import NullTracing, open_tracing
from tests.server.fake_engine import FakeEngine
from tests.server.running_server import RunningServer, eventually, post_bytes

pytest.importorskip("opentelemetry.sdk")
pytest.importorskip("opentelemetry.exporter.otlp.proto.http")

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
BODY = {"model": "fake-model", "prompt": "secret", "max_tokens": 5, "temperature": 0, "stop": ["hush"]}


class Collector:
    """Takes OTLP over HTTP and keeps the spans."""

    def __enter__(self):
        from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

        collector, self.spans, self.received, self.resources = self, [], b"", []

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                assert self.path == "/v1/traces"
                body = self.rfile.read(int(self.headers["content-length"]))
                collector.received += body
                for each in ExportTraceServiceRequest.FromString(body).resource_spans:
                    collector.resources.append(_values(each.resource.attributes))
                    collector.spans += [span for scope in each.scope_spans for span in scope.spans]
                self.send_response(200)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *args):
                pass

        self._server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def named(self, *names):
        return [span for span in self.spans if span.name in names]


def _values(attributes):
    return {each.key: _value(each.value) for each in attributes}


def _value(value):
    kind = value.WhichOneof("value")
    return (
        [_value(each) for each in value.array_value.values] if kind == "array_value" else getattr(value, kind)
    )


def traced(*requests, engine=None, **config):
    """The collector, after a server has answered `requests` (method of the server, arguments) and closed."""
    with Collector() as collector:
        with RunningServer(engine, otlp_traces_endpoint=collector.url, **config) as server:
            for request in requests:
                request(server)
        return collector


def completion(body=BODY, **headers):
    return lambda server: server.post("/v1/completions", body, **headers)


def test_a_request_is_a_trace_with_its_phases():
    collector = traced(completion(traceparent=f"00-{TRACE}-{PARENT}-01"))
    (root,) = collector.named("text_completion fake-model")
    assert root.trace_id.hex() == TRACE and root.parent_span_id.hex() == PARENT
    assert root.kind == 2, "SERVER"
    told = _values(root.attributes)
    expected = {
        "gen_ai.operation.name": "text_completion",
        "gen_ai.provider.name": "redline",
        "gen_ai.request.model": "fake-model",
        "gen_ai.response.model": "fake-model",
        "gen_ai.request.max_tokens": 5,
        "gen_ai.request.temperature": 0.0,
        "gen_ai.request.stream": False,
        "gen_ai.response.finish_reasons": ["length"],
        "gen_ai.usage.input_tokens": 6,
        "gen_ai.usage.output_tokens": 5,
        "gen_ai.usage.cache_read.input_tokens": 2,
        "gen_ai.latency.time_in_queue": 0.25,
        "gen_ai.latency.time_to_first_token": 0.5,
        "http.route": "/v1/completions",
        "http.response.status_code": 200,
    }
    assert {name: told.get(name) for name in expected} == expected
    phases = {span.name: span for span in collector.spans if span is not root}
    seconds = {
        name: (span.end_time_unix_nano - span.start_time_unix_nano) / 1e9 for name, span in phases.items()
    }
    assert seconds == pytest.approx({"queue": 0.25, "prefill": 0.25, "decode": 1.5, "preempted": 0.125})
    assert {span.parent_span_id for span in phases.values()} == {root.span_id}
    assert collector.resources[0]["service.name"] == "redline"


def test_no_span_says_what_was_asked_or_answered():
    say = {**BODY, "prompt": "SAY:hidden words", "max_tokens": 50, "user": "somebody"}
    key = {"authorization": "Bearer sk-Zk3mT0u8hVq1"}
    collector = traced(completion(say, **key), completion(**key), api_keys=("sk-Zk3mT0u8hVq1",))
    assert len(collector.named("text_completion fake-model")) == 2
    for text in (b"secret", b"hidden words", b"hush", b"sk-Zk3mT0u8hVq1", b"somebody"):
        assert text not in collector.received


@pytest.mark.parametrize(
    "header",
    [
        "garbage",
        f"00-{'0' * 32}-{PARENT}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"ff-{TRACE}-{PARENT}-01",
        f"00-{TRACE.upper()}-{PARENT}-01",
        f"01-{TRACE}-{PARENT}-01-{'x' * 600}",
    ],
)
def test_a_wrong_traceparent_starts_a_trace_of_its_own(header):
    (root,) = traced(completion(traceparent=header)).named("text_completion fake-model")
    assert not root.parent_span_id and root.trace_id.hex() != TRACE


def test_a_client_that_does_not_want_a_trace_gets_none():
    assert not traced(completion(traceparent=f"00-{TRACE}-{PARENT}-00")).spans


def test_failures_and_clients_that_left_are_told():
    def leave(server):
        server.engine.held = True
        with server.connect() as connection:
            connection.sendall(post_bytes("/v1/completions", b'{"model": "fake-model", "prompt": "x"}'))
            eventually(lambda: server.engine.running, "it runs")
        eventually(lambda: server.engine.aborted, "it was aborted")
        server.engine.held = False

    collector = traced(
        completion({**BODY, "model": "none"}),
        leave,
        lambda server: server.get("/health"),
        engine=FakeEngine(),
    )
    refused, left = (_values(span.attributes) for span in collector.spans)
    assert refused["error.type"] == "404" and "gen_ai.request.model" not in refused
    assert left["error.type"] == "client_disconnected" and "http.response.status_code" not in left


def test_a_collector_that_is_not_there_costs_nothing(caplog):
    with Collector() as collector:
        gone = collector.url
    with RunningServer(otlp_traces_endpoint=gone) as server:
        assert [completion()(server)[0] for _ in range(5)] == [200] * 5


def test_a_collector_that_never_answers_does_not_hold_up_the_end(monkeypatch, caplog):
    monkeypatch.setattr(tracing, "CLOSE_S", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with RunningServer(otlp_traces_endpoint=url) as server:
            assert completion()(server)[0] == 200
    assert "the collector of traces does not answer" in caplog.text


def test_off_imports_nothing():
    code = (
        "import sys; from redline.server.draining import DrainingServer; "
        "from redline.server.config import ServerConfig; DrainingServer(None, ServerConfig()); "
        "sys.exit(any(name.startswith('opentelemetry') for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], env={}).returncode == 0


def test_the_standard_variables_turn_it_on_and_off(monkeypatch):
    for name in ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)
    assert isinstance(open_tracing(None), NullTracing)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    opened = open_tracing(None)
    assert not isinstance(opened, NullTracing)
    opened.close()
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    assert isinstance(open_tracing(None), NullTracing)


@pytest.mark.parametrize("endpoint", ["127.0.0.1:4318", "ftp://x/", "http://"])
def test_an_endpoint_that_is_none_is_refused(endpoint):
    with pytest.raises(ConfigError, match="it must be a URL such as"):
        open_tracing(endpoint)


def test_a_protocol_that_is_none_is_refused(monkeypatch):
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "carrier/pigeon")
    with pytest.raises(ConfigError, match="carrier/pigeon.*http/protobuf, grpc"):
        open_tracing("http://127.0.0.1:9")
