"""What the log says: one line a request, for people or for programs, and nothing of what was said."""

import json
import logging

import pytest

from redline.server.log_format import TEXT, JsonFormatter
from tests.server.running_server import RunningServer, eventually

SECRET = "the-secret-of-the-prompt"
BODY = {"model": "fake-model", "prompt": f"SAY:{SECRET}", "max_tokens": 50}


class Lines(logging.Handler):
    """Keeps what a formatter makes of every record."""

    def __init__(self, formatter):
        super().__init__()
        self.setFormatter(formatter)
        self.lines = []

    def emit(self, record):
        self.lines.append(self.format(record))

    def of(self, request_id):
        eventually(lambda: any(request_id in line for line in self.lines), "log record")
        return [line for line in self.lines if request_id in line]


@pytest.fixture(params=["json", "text"])
def log(request):
    handler = Lines(JsonFormatter() if request.param == "json" else logging.Formatter(TEXT))
    logger = logging.getLogger()
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    yield request.param, handler
    logger.removeHandler(handler)
    logger.setLevel(level)


@pytest.mark.parametrize("stream", [False, True])
def test_a_request_is_one_line_with_its_numbers_and_without_its_words(log, stream):
    form, handler = log
    with RunningServer(api_keys=("sk-some-key",)) as server:
        _, headers, body = server.post(
            "/v1/completions", {**BODY, "stream": stream}, x_api_key="sk-some-key", x_request_id="mine"
        )
        assert SECRET[-1:].encode() in body
        (line,) = handler.of(headers["x-request-id"])
    assert SECRET not in "".join(handler.lines) and "sk-some-key" not in "".join(handler.lines)
    expected = {
        "id": headers["x-request-id"],
        "client_id": "mine",
        "key": "api-key-1",
        "model": "fake-model",
        "prompt_tokens": len(BODY["prompt"]),
        "output_tokens": len(SECRET) + 1,
        "cached_tokens": 2,
        "queue_s": 0.25,
        "ttft_s": 0.5,
    }
    if form == "json":
        entry = json.loads(line)
        assert expected.items() <= entry.items()
        assert (entry["method"], entry["path"], entry["status"]) == ("POST", "/v1/completions", 200)
        assert entry["duration_s"] >= 0 and entry["level"] == "info" and entry["time"].endswith("Z")
    else:
        assert "POST /v1/completions 200 " in line
        assert all(f" {name}={value}" in line for name, value in expected.items())


@pytest.mark.parametrize(
    "target, client_id",
    [
        ("/v1/models/%0d%0aINFO%20forged", "a\x85b"),
        ("/v1/models/%E2%80%A8x%20status=200", "a key=boss"),
        ("/v1/models/%1b%5b31m", "x" * 5000),
        ("/" + "a" * 5000, '"}{"'),
    ],
)
def test_nothing_that_a_client_sends_starts_a_line_or_a_field(log, target, client_id):
    form, handler = log
    with RunningServer() as server:
        head = f"GET {target} HTTP/1.1\r\nHost: localhost\r\nX-Request-Id: {client_id}\r\n"
        head += "Connection: close\r\n\r\n"
        status, headers, _ = server.raw(head.encode("latin-1"))
        assert status == 404
        (line,) = handler.of(headers["x-request-id"])
    assert line.isprintable() and len(line) < 700
    assert " key=boss" not in line and " status=200" not in line
    if form == "json":
        assert json.loads(line)["key"] == "-"


def test_a_client_that_left_has_status_0(log):
    form, handler = log
    with RunningServer() as server:
        server.engine.held = True
        connection = server.connect()
        content = json.dumps(BODY).encode()
        connection.sendall(
            b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nX-Request-Id: leaver\r\n"
            b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (len(content), content)
        )
        eventually(lambda: server.engine.running, "it runs")
        connection.close()
        (line,) = handler.of("leaver")
    assert '"status": 0' in line if form == "json" else "/v1/completions 0 " in line


def test_a_failure_is_json_too():
    formatter = JsonFormatter()
    try:
        raise ValueError("one\ntwo")
    except ValueError as error:
        record = logging.LogRecord("redline.server", logging.ERROR, "", 0, "it\nfailed", (), error)
        record.exc_info = (type(error), error, error.__traceback__)
    line = formatter.format(record)
    entry = json.loads(line)
    assert "\n" not in line and entry["message"] == "it\nfailed" and "ValueError: one" in entry["exception"]
