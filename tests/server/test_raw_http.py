"""Malformed and hostile HTTP, sent through a plain socket."""

import json
import logging
import socket

import pytest

from redline.errors import ConfigError
from redline.server.config import ServerConfig
from redline.server.limits import LimitGuard
from redline.server.listening import listening_socket
from tests.server.running_server import RunningServer, eventually, post_bytes, read_response

BODY = json.dumps({"model": "fake-model", "prompt": "x", "max_tokens": 2}).encode()
PATH = "/v1/completions"
CHUNKED = (
    f"POST {PATH} HTTP/1.1\r\nhost: localhost\r\n"
    "content-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n"
).encode()


@pytest.fixture(scope="module")
def server():
    with RunningServer(
        max_body_bytes=10_000, max_header_bytes=4096, max_headers=20, header_timeout_s=0.3, body_timeout_s=0.3
    ) as server:
        yield server


@pytest.fixture(autouse=True)
def still_serves(server):
    yield
    assert server.post(PATH, BODY)[0] == 200
    assert server.engine.running == {}


def error_of(answer, status, code):
    got, headers, body = answer
    assert got == status, (got, body)
    assert headers["content-type"] == "application/json"
    error = json.loads(body)["error"]
    assert list(error) == ["message", "type", "param", "code"] and error["code"] == code
    return error


@pytest.mark.parametrize(
    "request_bytes, status",
    [
        (b"nonsense\r\n\r\n", 400),
        (b"GET /health\r\n\r\n", 400),
        (b"GET /health HTTP/1.1\r\n\r\n", 400),  # no Host
        (b"GET /health HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
        (b"GET /he alth HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
        (b"GET /health HTTP/1.1\r\nHost: localhost\r\nbad name: x\r\n\r\n", 400),
        (b"GET /health HTTP/1.1\r\nHost: localhost\r\nx: a\x00b\r\n\r\n", 400),
        (b"GET /health HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n", 400),
        (b"GET /health HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 400),
        (b"GET /health HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: gzip\r\n\r\n", 501),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),  # TLS
        (b"\x00" * 100 + b"\r\n\r\n", 400),
    ],
)
def test_what_the_parser_refuses_is_a_json_error(server, request_bytes, status):
    code = {400: "bad_request", 501: "not_implemented"}[status]
    error_of(server.raw(request_bytes), status, code)


@pytest.mark.parametrize(
    "framing",
    [
        {"content-length": str(len(BODY)), "transfer-encoding": "chunked"},
        {"content-length": "5", "transfer-encoding": "chunked"},
        {"transfer-encoding": "chunked", "content-length": "0"},
    ],
)
def test_two_statements_about_the_length_are_refused_and_the_connection_closed(server, framing):
    lines = [f"POST {PATH} HTTP/1.1", "host: localhost", "content-type: application/json"]
    lines += [f"{name}: {value}" for name, value in framing.items()]
    hidden = b"0\r\n\r\nGET /version HTTP/1.1\r\nhost: localhost\r\n\r\n"
    answer = server.raw("\r\n".join(lines).encode() + b"\r\n\r\n" + hidden)
    error_of(answer, 400, "bad_framing")
    assert answer[1]["connection"] == "close" and b"version" not in answer[2]


@pytest.mark.parametrize(
    "names", [("content-length", "Content-Length"), ("content-length", "transfer-encoding")]
)
def test_the_guard_itself_refuses_repeated_framing_whichever_parser_runs(names):
    guard = LimitGuard(lambda *_: None, ServerConfig())
    problem = guard._problem([(name.encode(), b"5") for name in names])
    assert problem is not None and problem.status == 400
    assert guard._problem([(b"content-length", b"x")]).status == 400
    assert guard._problem([(b"content-length", b"5")]) is None


def test_too_many_and_too_large_headers_are_431(server):
    many = {f"x-{number}": "a" for number in range(20)}
    error_of(server.post(PATH, BODY, **many), 431, "headers_too_large")
    error_of(server.post(PATH, BODY, x_long="a" * 4090), 431, "headers_too_large")
    endless = b"GET /health HTTP/1.1\r\nHost: localhost\r\nx: " + b"a" * 10_000
    error_of(server.raw(endless), 431, "request_header_fields_too_large")
    error_of(server.raw(b"G" * 10_000), 431, "request_header_fields_too_large")


def test_a_long_body_is_refused_without_reading_it(server):
    head = post_bytes(PATH, b"", content_length="1000000000")
    error_of(server.raw(head), 413, "body_too_large")
    error_of(server.post(PATH, b" " * 10_001), 413, "body_too_large")
    assert server.post(PATH, BODY + b" " * (10_000 - len(BODY)))[0] == 200


def test_a_chunked_body_is_counted_while_it_is_read(server):
    chunk = b"1000\r\n" + b" " * 4096 + b"\r\n"
    error_of(server.raw(CHUNKED + chunk * 3), 413, "body_too_large")
    small = b"%x\r\n%s\r\n0\r\n\r\n" % (len(BODY), BODY)
    with server.connect() as connection:
        connection.sendall(
            CHUNKED.replace(b"host: localhost", b"host: localhost\r\nconnection: close") + small
        )
        assert read_response(connection)[0] == 200


@pytest.mark.parametrize("bad", [b"zz\r\n", b"-5\r\nabc\r\n", b"ffffffffffffffffffffff\r\n"])
def test_bad_chunk_sizes_are_400(server, bad):
    error_of(server.raw(CHUNKED + bad), 400, "bad_request")


@pytest.mark.parametrize("sent", [b"GET /health HTT", b"", b"GET /health HTTP/1.1\r\nHost:"])
def test_slow_headers_are_timed_out(server, sent):
    error_of(server.raw(sent), 408, "request_timeout")


def test_slow_headers_of_a_second_request_are_timed_out_but_idleness_is_not(server):
    with server.connect() as connection:
        connection.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
        received = b""
        while b'"ok"}' not in received:
            received += connection.recv(65536)
        connection.settimeout(0.6)
        with pytest.raises(TimeoutError):  # idle longer than header_timeout_s: still open
            connection.recv(1)
        connection.settimeout(20)
        connection.sendall(b"GET /hea")
        error_of(read_response(connection), 408, "request_timeout")


def test_a_slow_body_is_timed_out(server):
    error_of(server.raw(post_bytes(PATH, BODY, content_length=str(len(BODY) + 1))), 408, "request_timeout")


def test_a_body_cut_short_by_the_client_leaves_nothing_behind(server):
    with server.connect() as connection:
        connection.sendall(post_bytes(PATH, BODY, content_length=str(len(BODY) + 1)))
    eventually(lambda: not server.server.server_state.connections, "connection closed")
    assert len(server.server._running) == 0


@pytest.mark.parametrize(
    "media_type",
    ["text/plain", "application/x-www-form-urlencoded", "", "application/jsonx", "multipart/form-data"],
)
def test_other_media_types_are_415(server, media_type):
    error_of(server.post(PATH, BODY, content_type=media_type), 415, "unsupported_media_type")


@pytest.mark.parametrize("media_type", ["application/json; charset=utf-8", "Application/JSON"])
def test_json_is_accepted_however_it_is_written(server, media_type):
    assert server.post(PATH, BODY, content_type=media_type)[0] == 200


def test_compressed_bodies_are_415(server):
    error_of(server.post(PATH, BODY, content_encoding="gzip"), 415, "unsupported_content_encoding")
    assert server.post(PATH, BODY, content_encoding="identity")[0] == 200


@pytest.mark.parametrize(
    "target",
    [
        "/v1",
        "/page.html",
        "/v1/completions/",
        "//v1/completions",
        "/v1/%2e%2e/health",
        "/nope",
        "http://x/health",
    ],
)
def test_unknown_routes_are_404_and_never_redirects(server, target):
    error_of(server.get(target), 404, "not_found")


@pytest.mark.parametrize(
    "method, path, allowed",
    [
        ("GET", "/v1/completions", "POST"),
        ("DELETE", "/v1/models", "GET, HEAD"),
        ("OPTIONS", "/v1/chat/completions", "POST"),
        ("BREW", "/health", "GET, HEAD"),
    ],
)
def test_wrong_methods_are_405(server, method, path, allowed):
    answer = server.raw(f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
    error_of(answer, 405, "method_not_allowed")
    assert sorted(answer[1]["allow"].split(", ")) == allowed.split(", ")


def test_upgrades_are_not_served(server):
    upgrade = "Upgrade: websocket\r\nSec-WebSocket-Key: x\r\nConnection: Upgrade, close"
    assert server.raw(f"GET /health HTTP/1.1\r\nHost: localhost\r\n{upgrade}\r\n\r\n".encode())[0] == 200


def test_expect_continue_is_answered(server):
    with server.connect() as connection:
        connection.sendall(post_bytes(PATH, b"", content_length=str(len(BODY)), expect="100-continue"))
        assert connection.recv(65536).startswith(b"HTTP/1.1 100 ")
        connection.sendall(BODY)
        assert read_response(connection)[0] == 200


def test_pipelined_requests_are_answered_in_order(server):
    first = post_bytes(PATH, BODY, connection="keep-alive")
    with server.connect() as connection:
        connection.sendall(first + b"GET /version HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        received = b""
        while data := connection.recv(65536):
            received += data
    assert received.count(b"HTTP/1.1 200") == 2 and received.index(b"cmpl-") < received.index(b'"version"')


def test_the_request_id_is_ours_and_the_clients_goes_to_the_log_in_one_short_line(server, caplog):
    caplog.set_level(logging.INFO, logger="redline.server")  # the log is written after the answer
    _, headers, body = server.post(PATH, BODY, x_request_id="mine\x85\x7f key=boss" + "a" * 500)
    assert json.loads(body)["id"] == "cmpl-" + headers["x-request-id"]
    request_id = headers["x-request-id"]
    eventually(lambda: f" id={request_id} " in caplog.text, "log record")
    (message,) = (text for text in caplog.messages if request_id in text)
    assert f"POST {PATH} 200" in message
    assert "client_id=mine???key=bossaaa" in message and len(message) < 400 and message.isprintable()


def test_errors_carry_a_request_id_too(server):
    assert len(server.get("/nope")[1]["x-request-id"]) == 32
    assert len(server.post(PATH, BODY, x="a" * 4090)[1]["x-request-id"]) == 32


def test_connections_send_without_delay(server):
    with server.connect() as connection:
        connection.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert connection.recv(65536)
        (accepted,) = server.server.server_state.connections
        ours = accepted.transport.get_extra_info("socket")
        assert ours.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0


def test_a_port_in_use_is_explained(server):
    with pytest.raises(ConfigError, match=f"port {server.port}"):
        listening_socket(ServerConfig(port=server.port))


@pytest.mark.parametrize("host", ["\udcff", "a" * 64, "a..b"], ids=["not unicode", "too long", "empty label"])
def test_a_name_that_no_host_can_have_is_explained(host):
    with pytest.raises(ConfigError, match="cannot listen on"):
        listening_socket(ServerConfig(host=host, port=0))


@pytest.mark.parametrize(
    "option",
    [
        {"port": -1},
        {"port": 65536},
        {"port": True},
        {"max_waiting": 0},
        {"max_body_bytes": 1.5},
        {"drain_timeout_s": -1},
        {"body_timeout_s": float("nan")},
        {"keep_alive_s": float("inf")},
        {"header_timeout_s": "1"},
    ],
)
def test_bad_configuration_is_named(option):
    with pytest.raises(ConfigError, match=next(iter(option))):
        ServerConfig(**option)
