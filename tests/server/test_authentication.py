"""Keys: every route, every way to present or to hide one, and what is said to those without."""

import hmac
import json
import logging

import pytest
from starlette.routing import Route

from redline.errors import ConfigError
from redline.server import app as app_module
from redline.server.authentication import Authentication
from redline.server.config import ServerConfig
from redline.server.key_store import KeyStore
from redline.server.keys import ApiKey, KeyRing, digest_of
from redline.server.service import Service
from tests.server.fake_engine import FakeEngine
from tests.server.running_server import RunningServer, eventually

KEY, OTHER = "sk-right-Key-1", "sk-other-Key-2"
BODY = {"model": "fake-model", "prompt": "SAY:hi", "max_tokens": 9}


@pytest.fixture(scope="module")
def server():
    with RunningServer(api_keys=(KEY, OTHER)) as server:
        yield server


@pytest.fixture(autouse=True)
def still_serves(server):
    yield
    assert server.post("/v1/completions", BODY, authorization=f"Bearer {KEY}")[0] == 200


def routes() -> list[Route]:
    return app_module._routes(Service(FakeEngine(), ServerConfig()))


def ask(server, method, target, *lines):
    head = [f"{method} {target} HTTP/1.1", "Host: localhost", "Connection: close", *lines]
    return server.raw("\r\n".join(head).encode() + b"\r\n\r\n")


def assert_refused(answer, method="GET"):
    status, headers, body = answer
    assert status == 401, (status, body)
    assert headers["www-authenticate"] == "Bearer" and headers["content-type"] == "application/json"
    if method != "HEAD":
        told = json.loads(body)
        error = told["error"]
        assert error["type"] == "authentication_error"
        if "request-id" in headers:  # the Messages API has a shape of its own
            assert told["type"] == "error" and told["request_id"] == headers["request-id"]
        else:
            assert (error["code"], error["param"]) == ("invalid_api_key", None)
        assert KEY.encode() not in body and OTHER.encode() not in body


WRONG = {
    "none": [],
    "empty": ["Authorization: Bearer "],
    "no token": ["Authorization: Bearer"],
    "wrong": ["Authorization: Bearer sk-wrong-Key-1"],
    "prefix": [f"Authorization: Bearer {KEY[:-1]}"],
    "longer": [f"Authorization: Bearer {KEY}x"],
    "case": [f"Authorization: Bearer {KEY.upper()}"],
    "basic": [f"Authorization: Basic {KEY}"],
    "bare": [f"Authorization: {KEY}"],
    "both keys in one": [f"Authorization: Bearer {KEY} {OTHER}"],
    "comma": [f"Authorization: Bearer {KEY}, Bearer {KEY}"],
    "two, one wrong": [f"Authorization: Bearer {KEY}", "Authorization: Bearer wrong"],
    "two, wrong first": ["Authorization: Bearer wrong", f"Authorization: Bearer {KEY}"],
    "two kinds, one wrong": [f"Authorization: Bearer {KEY}", "x-api-key: wrong"],
    "two right ones": [f"Authorization: Bearer {KEY}", f"x-api-key: {OTHER}"],
    "x-api-key wrong": ["x-api-key: wrong"],
    "x-api-key as bearer": [f"x-api-key: Bearer {KEY}"],
    "cookie": [f"Cookie: api_key={KEY}"],
    "other header": [f"api-key: {KEY}"],
    "forwarded": ["X-Forwarded-For: 127.0.0.1", "X-Original-URL: /health", "X-Rewrite-URL: /health"],
    "origin": ["Origin: http://localhost"],
    "upgrade": ["Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Key: x"],
}


@pytest.mark.parametrize("lines", WRONG.values(), ids=WRONG)
def test_no_route_but_health_answers_without_a_right_key(server, lines):
    for route in routes():
        if route.path == "/health":
            continue
        for method in [*sorted(route.methods or ()), "OPTIONS", "BREW"]:
            assert_refused(
                ask(server, method, route.path.replace("{name:path}", "fake-model"), *lines), method
            )


@pytest.mark.parametrize(
    "lines",
    [
        [f"Authorization: Bearer {KEY}"],
        [f"authorization: bearer   {KEY}"],
        [f"Authorization: BEARER {OTHER}"],
        [f"x-api-key: {KEY}"],
        [f"X-API-Key: {KEY}", f"Authorization: Bearer {KEY}"],
    ],
)
def test_a_right_key_opens_every_route(server, lines):
    for route in routes():
        status = ask(server, "GET", route.path.replace("{name:path}", "fake-model"), *lines)[0]
        assert status in {200, 404, 405, 501}, route.path


@pytest.mark.parametrize(
    "target",
    [
        "//v1/models",
        "/v1//models",
        "/v1/models/",
        "/v1/models?",
        f"/v1/models?api_key={KEY}",
        f"/v1/models?key={KEY}&authorization=Bearer%20{KEY}",
        "/v1/models?/health",
        "/v1/models;/health",
        "/v1/models#/health",
        "/V1/MODELS",
        "/v1/%6dodels",
        "/%76%31/models",
        "/v1%2Fmodels",
        "/health/../v1/models",
        "/health/..%2fv1/models",
        "/health%2f..%2fv1%2fmodels",
        "/health/",
        "//health",
        "/Health",
        "/health%00",
        "/health%20",
        "/health;x",
        "/./health",
        "http://x/v1/models",
        "http://x/health",
        "http://localhost/v1/models",
        "https://x/v1/models",
        "*",
        "/page",
        "/page/index.html",
        "/docs",
        "/openapi.json",
    ],
)
@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "POST"])
def test_no_spelling_of_a_path_gets_around_the_key(server, target, method):
    assert_refused(ask(server, method, target), method)


@pytest.mark.parametrize("target", ["/health", "/%68ealth", "/health?x=/v1/models"])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_health_needs_no_key_however_it_is_spelled(server, target, method):
    assert ask(server, method, target)[0] == 200


@pytest.mark.parametrize(
    "host", ["x/health?", "localhost", "127.0.0.1/health", "/health", "a/?x=", "a#", "[::1]", "x@/health"]
)
def test_the_host_header_decides_nothing(server, host):
    answer = server.raw(f"GET /v1/models HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
    assert answer[0] == 400 or assert_refused(answer) is None


def test_a_body_is_not_read_before_the_key_is_right(server):
    head = (
        "POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 9\r\n"
    )
    answer = server.raw(f"{head}\r\n".encode())
    assert_refused(answer)
    assert answer[1]["connection"] == "close"


def test_a_bare_options_is_no_preflight_and_a_preflight_needs_cors(server):
    preflight = ["Origin: https://a.example", "Access-Control-Request-Method: POST"]
    assert_refused(ask(server, "OPTIONS", "/v1/models"))
    assert_refused(ask(server, "OPTIONS", "/v1/models", *preflight))
    with RunningServer(api_keys=(KEY,), cors_origins=("https://a.example",)) as open_to_pages:
        assert ask(open_to_pages, "OPTIONS", "/v1/models", *preflight)[0] == 200
        assert_refused(ask(open_to_pages, "OPTIONS", "/v1/models"))
        assert_refused(ask(open_to_pages, "OPTIONS", "/v1/models", preflight[0]))
        assert_refused(ask(open_to_pages, "OPTIONS", "/v1/models", preflight[1]))
        assert_refused(ask(open_to_pages, "GET", "/v1/models", *preflight))


def test_metrics_are_public_only_when_the_operator_says_so(server):
    assert_refused(ask(server, "GET", "/metrics"))
    with RunningServer(api_keys=(KEY,), public_metrics=True) as public:
        assert ask(public, "GET", "/metrics")[0] == 200
        assert_refused(ask(public, "GET", "/metrics/"))
        assert_refused(ask(public, "GET", "/version"))


def test_keys_are_in_no_log_answer_or_metric(server, caplog):
    caplog.set_level(logging.DEBUG)
    for lines in WRONG.values():
        ask(server, "GET", f"/v1/models?api_key={KEY}", *lines)
    _, headers, body = server.post("/v1/completions", BODY, authorization=f"Bearer {KEY}")
    metrics = ask(server, "GET", "/metrics", f"x-api-key: {KEY}")[2]
    eventually(lambda: f" id={headers['x-request-id']} " in caplog.text, "log record")
    assert " key=api-key-1 " in caplog.text
    for text in (caplog.text, body.decode(), metrics.decode(), repr(server.config), str(headers)):
        assert KEY not in text and OTHER not in text and "api-key-1" not in metrics.decode()
    assert repr(ApiKey(name="a", digest=digest_of(KEY, "a"))) == repr(ApiKey(name="a"))


def test_every_key_is_compared_in_constant_time_whichever_matches(monkeypatch):
    keys = [f"sk-number-{number}" for number in range(5)]
    ring = KeyRing(ApiKey(name=f"k{n}", digest=digest_of(key, "k")) for n, key in enumerate(keys))
    compare, lengths = hmac.compare_digest, []

    def counted(a, b):
        lengths.append((len(a), len(b)))
        return compare(a, b)

    monkeypatch.setattr(hmac, "compare_digest", counted)
    for presented, name in [(keys[0], "k0"), (keys[4], "k4"), ("x", None), ("y" * 5000, None)]:
        lengths.clear()
        found = ring.find(presented.encode())
        assert (found and found.name) == name
        assert lengths == [(32, 32)] * 5  # digests: not even the length of a key shows


def test_without_keys_everyone_may_come_in():
    with RunningServer() as server:
        assert server.get("/v1/models")[0] == 200
        assert ask(server, "GET", "/v1/models", "Authorization: Bearer whatever")[0] == 200


@pytest.mark.parametrize(
    "key", ["", "short", "has a space in it", "umlaut-\u00e4\u00f6\u00fc", "a" * 513, "new\nline-key"]
)
def test_a_key_that_cannot_be_used_is_refused_without_being_shown(key):
    with pytest.raises(ConfigError, match="api-key-1 cannot be used") as raised:
        KeyStore(ServerConfig(api_keys=(key,)))
    assert not key or key not in str(raised.value)


def test_a_layer_that_cannot_tell_lets_nothing_pass():
    """A kind of connection that Redline does not serve gets no way around the keys."""
    passed = []

    async def inner(scope, receive, send):
        passed.append(scope)

    config = ServerConfig(api_keys=(KEY,))
    guard = Authentication(inner, config, KeyStore(config))
    coroutine = guard({"type": "websocket", "path": "/v1/models", "headers": []}, None, None)
    with pytest.raises(Exception):  # noqa: B017  there is nobody to answer to
        coroutine.send(None)
    assert passed == []
