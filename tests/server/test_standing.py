"""What the engine is told about whose request it is: priority, tenant, and whose cached prompts it shares."""

import json

import pytest

from tests.server.fake_engine import FakeEngine
from tests.server.running_server import RunningServer

PATHS = ["/v1/chat/completions", "/v1/completions", "/v1/embeddings"]
ALICE, BOB = "sk-alice-123", "sk-bob-45678"


@pytest.fixture
def keys_file(tmp_path):
    path = tmp_path / "keys"
    path.touch(mode=0o600)
    path.write_text(f"{ALICE} name=alice priority=-5\n{ALICE}-new name=alice\n{BOB} name=bob priority=3\n")
    return str(path)


def post(server, path=PATHS[1], key=None, **fields):
    body = {
        "model": "fake-model",
        "prompt": "x",
        "input": "x",
        "messages": [{"role": "user", "content": "x"}],
        "max_tokens": 1,
    }
    headers = {"x_api_key": key} if key else {}
    return server.post(path, {**body, **fields}, **headers)


def order_of(engine, order):
    engine.order = order
    return engine


@pytest.mark.parametrize("path", PATHS)
def test_a_key_brings_its_priority_its_name_and_a_cache_of_its_own(keys_file, path):
    with RunningServer(api_keys_file=keys_file) as server:
        for key in (ALICE, ALICE + "-new", BOB):
            assert post(server, path, key)[0] == 200
            assert post(server, path, key, cache_salt="bob/")[0] == 200
        engine = server.engine
    assert engine.standings[::2] == [(-5, "alice"), (0, "alice"), (3, "bob")]
    alice, alice_salted, renewed, _, bob, bob_salted = engine.salts
    assert alice == renewed  # one holder, two keys
    assert len({alice, alice_salted, bob, bob_salted, ""}) == 5


def test_no_salt_reaches_into_the_cache_of_another_key(keys_file):
    with RunningServer(api_keys_file=keys_file) as server:
        for salt in (None, "/", "x", "bob/", "bob", "\u0000", "alice/x"):
            post(server, key=ALICE, cache_salt=salt)
            post(server, key=BOB, cache_salt=salt)
        alice, bob = set(server.engine.salts[::2]), set(server.engine.salts[1::2])
    assert len(alice) == len(bob) == 7 and not alice & bob


def test_keys_share_the_cache_when_the_operator_says_so(keys_file):
    with RunningServer(api_keys_file=keys_file, share_cache_between_keys=True) as server:
        for key in (ALICE, BOB):
            assert post(server, key=key)[0] == post(server, key=key, cache_salt="s")[0] == 200
        assert server.engine.salts == ["", "s", "", "s"]


def test_without_keys_only_the_salt_of_the_request_counts(own_server):
    assert post(own_server)[0] == post(own_server, cache_salt="s")[0] == 200
    assert own_server.engine.salts == ["", "s"] and own_server.engine.standings == [(0, "")] * 2


@pytest.mark.parametrize("path", PATHS)
def test_a_priority_is_heard_where_the_server_goes_by_it(path):
    with RunningServer(order_of(FakeEngine(), "priority")) as server:
        for priority in (-7, 0, None, 10**6):
            assert post(server, path, priority=priority)[0] == 200
        assert [each for each, _ in server.engine.standings] == [-7, 0, 0, 10**6]
        for wrong in (10**6 + 1, -(10**6) - 1, 1.5, "1", True, 10**26):
            status, _, body = post(server, path, priority=wrong)
            assert (status, json.loads(body)["error"]["param"]) == (400, "priority")


@pytest.mark.parametrize("order", ["fcfs", "fair", "shortest"])
def test_a_priority_is_refused_where_nobody_listens(order):
    with RunningServer(order_of(FakeEngine(), order)) as server:
        assert post(server, priority=0)[0] == 200
        status, _, body = post(server, priority=1)
        error = json.loads(body)["error"]
        assert (status, error["param"]) == (400, "priority") and "--order priority" in error["message"]


def test_a_key_cannot_go_before_its_own_place(keys_file):
    with RunningServer(order_of(FakeEngine(), "priority"), api_keys_file=keys_file) as server:
        assert post(server, key=BOB, priority=4)[0] == 200
        assert server.engine.standings == [(7, "bob")]
        status, _, body = post(server, key=BOB, priority=-1)
        assert (status, json.loads(body)["error"]["param"]) == (400, "priority")
