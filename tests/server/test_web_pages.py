"""What a browser may do on behalf of a page: CORS, and pages that rebind their name to this machine."""

import json

import pytest

from redline.errors import ConfigError
from redline.server.config import ServerConfig
from tests.server.running_server import RunningServer

PAGE = "https://chat.example.com"
BODY = {"model": "fake-model", "prompt": "x", "max_tokens": 1}


def preflight(server, origin, method="POST", headers="authorization,content-type,x-stainless-os"):
    return server.raw(
        "OPTIONS /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
        f"Origin: {origin}\r\n"
        f"Access-Control-Request-Method: {method}\r\n"
        f"Access-Control-Request-Headers: {headers}\r\n\r\n".encode()
    )


def cors_headers(headers):
    return {name: value for name, value in headers.items() if name.startswith("access-control-")}


@pytest.fixture(scope="module")
def server():
    with RunningServer(cors_origins=(PAGE,)) as server:
        yield server


def test_by_default_no_page_may_call():
    with RunningServer(api_keys=("sk-some-key",)) as server:
        assert preflight(server, PAGE)[0] == 401
        for answer in (preflight(server, PAGE), server.post("/v1/completions", BODY, origin=PAGE)):
            assert cors_headers(answer[1]) == {}


def test_a_page_that_is_named_may_call(server):
    status, headers, _ = preflight(server, PAGE)
    assert status == 200 and headers["access-control-allow-origin"] == PAGE
    assert headers["access-control-allow-headers"] == "authorization,content-type,x-stainless-os"
    assert "access-control-allow-credentials" not in headers
    status, headers, _ = server.post("/v1/completions", BODY, origin=PAGE)
    assert status == 200 and headers["access-control-allow-origin"] == PAGE
    assert headers["access-control-expose-headers"] == "x-request-id, request-id, retry-after"
    assert "Origin" in headers["vary"]


@pytest.mark.parametrize(
    "origin",
    [
        PAGE + ".evil.com",
        "http://chat.example.com",
        PAGE + ":444",
        "https://evil.com",
        "null",
        PAGE.upper(),
        "x",
    ],
)
def test_other_pages_may_not(server, origin):
    assert preflight(server, origin)[0] == 400
    status, headers, _ = server.post("/v1/completions", BODY, origin=origin)
    assert status == 403 and "access-control-allow-origin" not in headers


def test_methods_that_no_endpoint_has_are_not_allowed(server):
    assert preflight(server, PAGE, method="PUT")[0] == 400


def test_all_pages_may_call_when_the_operator_says_so():
    with RunningServer(cors_origins=("*",)) as server:
        assert preflight(server, "https://any.example")[1]["access-control-allow-origin"] == "*"
        assert server.post("/v1/completions", BODY, origin="https://any.example")[0] == 200


@pytest.mark.parametrize(
    "origin", ["https://a.example/", "a.example", "", "https://", "https://a b", "http://u@h"]
)
def test_an_origin_that_no_browser_sends_is_refused(origin):
    with pytest.raises(ConfigError, match="cors_origins has"):
        ServerConfig(cors_origins=(origin,))


@pytest.mark.parametrize(
    "origin", ["http://evil.example:8000", "https://evil.example", "null", "http://[", "file://"]
)
def test_a_page_that_rebinds_its_name_to_this_machine_is_refused(own_server, origin):
    host = origin.rpartition("/")[2] or "x"
    for path, body in (("/v1/completions", BODY), ("/v1/chat/completions", {})):
        status, _, answer = own_server.post(path, body, origin=origin, host=host.strip("["))
        assert (status, json.loads(answer)["error"]["code"]) == (403, "origin_not_allowed")
    assert own_server.engine.seen == []


@pytest.mark.parametrize(
    "origin", ["http://localhost:8000", "http://127.0.0.1:3000", "http://[::1]:8000", "http://192.168.0.7"]
)
def test_pages_of_this_machine_and_of_addresses_are_not_rebound(own_server, origin):
    assert own_server.post("/v1/completions", BODY, origin=origin)[0] == 200


def get(server, path, host):
    head = f"GET {path} HTTP/1.1\r\n{host}Connection: close\r\n\r\n"
    return server.raw(head.encode("latin-1"))


SAME_ORIGIN = [
    "/",
    "/metrics",
    "/v1/models",
    "/v1/responses/resp_1",
    "/v1/redline/live",
    "/v1/redline/live?stream=true",
    "/openapi.json",
]
OTHERS = [
    "evil.example",
    "evil.example:8000",
    "localhost.evil.example",
    "127.0.0.1.evil.example:80",
    "127.0.0.1@evil.example",
    "evil.example@127.0.0.1",
    "127.0.0.1, evil.example",
    "evil.example#127.0.0.1",
    "evil.example/127.0.0.1",
    "192.168.0.7",
    "0.0.0.0",
    "[::]:8000",
    "[::1",
    "[localhost]",
    "l\xf6calhost",
    "",
]


@pytest.mark.parametrize("host", OTHERS)
def test_a_page_that_rebinds_its_name_can_read_nothing(server, host):
    """To the browser it asks its own site, so there is no Origin."""
    served = len(server.engine.seen)
    for path in SAME_ORIGIN:
        status, _, answer = get(server, path, f"Host: {host}\r\n")
        error = json.loads(answer)["error"]
        assert (status, error["code"]) == (403, "host_not_allowed") and "--allowed-host" in error["message"]
    status, _, answer = server.post("/v1/messages", {"messages": []}, host=host)
    assert (status, json.loads(answer)["error"]["type"]) == (403, "permission_error")
    assert len(server.engine.seen) == served


@pytest.mark.parametrize(
    "host",
    [
        "localhost", "LocalHost:8000", "localhost.", "127.0.0.1", "127.0.0.1:1", "127.255.0.3", "[::1]",
        "[::1]:8000", "127.0.0.1:",
    ],
)  # fmt: skip
def test_this_machine_may_be_called_by_any_of_its_names(server, host):
    assert get(server, "/v1/models", f"Host: {host}\r\n")[0] == 200


def test_a_request_without_a_host_is_no_browsers(server):
    head = b"GET /v1/models HTTP/1.0\r\nConnection: close\r\n\r\n"
    assert server.raw(head)[0] == 200


def test_a_host_that_is_named_may_be_called_and_its_pages_may_call():
    with RunningServer(allowed_hosts=("LLM.example.com", "192.168.0.7", "fe80::1")) as server:
        for host in ("llm.example.com", "llm.EXAMPLE.com.:443", "192.168.0.7:8000", "[fe80::1]", "localhost"):
            assert get(server, "/v1/models", f"Host: {host}\r\n")[0] == 200
        page = {"host": "llm.example.com", "origin": "https://llm.example.com"}
        assert server.post("/v1/completions", BODY, **page)[0] == 200
        for host in ("example.com", "x.llm.example.com", "192.168.0.8"):
            assert get(server, "/v1/models", f"Host: {host}\r\n")[0] == 403
        page["origin"] = "https://evil.example"
        assert server.post("/v1/completions", BODY, **page)[0] == 403


def test_with_keys_or_for_other_machines_any_name_will_do_until_one_is_named():
    keys = {"api_keys": ("sk-some-key",)}
    anywhere = {"host": "0.0.0.0"}
    for config, expected in ((keys, 401), (anywhere, 200)):
        with RunningServer(**config) as server:
            assert get(server, "/v1/models", "Host: llm.example.com\r\n")[0] == expected
        with RunningServer(**config, allowed_hosts=("llm.example.com",)) as server:
            assert get(server, "/v1/models", "Host: llm.example.com\r\n")[0] == expected
            assert get(server, "/v1/models", "Host: evil.example\r\n")[0] == 403


@pytest.mark.parametrize("host", ["", "*", "*.a.example", "http://a.example", "a.example:80", "[::1]", "a b"])
def test_a_host_that_no_request_names_is_refused(host):
    with pytest.raises(ConfigError, match="allowed_hosts has"):
        ServerConfig(allowed_hosts=(host,))


def test_with_a_key_a_page_must_bring_it():
    """It cannot, unless it was given one; so a proxy in front may have any name."""
    with RunningServer(api_keys=("sk-some-key",)) as server:
        assert server.post("/v1/completions", BODY, origin="http://evil.example")[0] == 401
        bearer = {"authorization": "Bearer sk-some-key"}
        assert server.post("/v1/completions", BODY, origin="https://proxy.example", **bearer)[0] == 200
