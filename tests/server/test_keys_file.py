"""The file of keys: both forms, what is wrong with one, and changes while the server runs."""

import logging
import os

import pytest

from redline.errors import ConfigError
from redline.server.config import ServerConfig
from redline.server.key_store import KeyStore
from redline.server.keys_file import read_keys
from tests.server.running_server import RunningServer

ALICE, BOB = "sk-alice-123", "sk-bob-45678"
LINES = f"""
# who may come in
{ALICE} name=alice max_requests=2 max_queued_tokens=100 priority=-1

{BOB}
"""
JSON = f"""{{"keys": [
  {{"key": "{ALICE}", "name": "alice", "max_requests": 2, "max_queued_tokens": 100, "priority": -1}},
  {{"key": "{BOB}", "name": "key-5"}}
]}}"""


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "keys"
    path.touch(mode=0o600)
    return path


@pytest.mark.parametrize("text", [LINES, JSON, "\ufeff" + JSON, LINES.replace("\n", "\r\n")])
def test_both_forms_say_the_same(path, text):
    path.write_text(text, newline="")
    alice, bob = read_keys(path)
    assert (alice.name, alice.max_requests, alice.max_queued_tokens, alice.priority) == ("alice", 2, 100, -1)
    assert (bob.name, bob.max_requests, bob.max_queued_tokens, bob.priority) == ("key-5", None, None, 0)
    assert alice.digest != bob.digest


@pytest.mark.parametrize(
    "text, problem",
    [
        ("", "has no keys"),
        ("# nothing\n", "has no keys"),
        ('{"keys": []}', "has no keys"),
        ("{", "not valid JSON"),
        ('{"a":' * 100_000, "not valid JSON"),
        ('{"keys": {}}', "must be"),
        ('{"keys": [1]}', "must be"),
        ('{"keys": [], "more": 1}', "must be"),
        ('{"keys": [{"name": "alice"}]}', "entry 1: an entry has a key"),
        (f'{{"keys": [{{"key": "{ALICE}", "role": "x"}}]}}', "entry 1: an entry has a key and may have name"),
        (f'{{"keys": [{{"key": "{ALICE}", "name": 5}}]}}', "entry 1: the name of a key"),
        (f'{{"keys": [{{"key": "{ALICE}", "max_requests": true}}]}}', "entry 1: max_requests"),
        (f'{{"keys": [{{"key": "{ALICE}", "max_requests": 1.5}}]}}', "entry 1: max_requests"),
        ('{"keys": [{"key": 12345678}]}', "entry 1: key key-1 cannot be used"),
        (f"{ALICE} name", "line 1: after the key come options"),
        (f"{ALICE} {BOB}", "line 1: after the key come options"),
        (f"{ALICE} colour=red", "line 1: after the key come options"),
        (f"{ALICE} name=a name=b", "line 1: after the key come options"),
        (f"\n{ALICE} priority=high", "line 2: priority must be an integer"),
        (f"{ALICE} priority=10000000", "line 1: priority"),
        (f"{ALICE} max_requests=0", "line 1: max_requests"),
        (f"{ALICE} max_queued_tokens=-1", "line 1: max_queued_tokens"),
        (f"{ALICE} name=a\u00e4", "line 1: the name of a key"),
        ("short", "line 1: key key-1 cannot be used"),
        ("#" * (2**20 + 1), "larger than"),
    ],
)
def test_what_is_wrong_is_said_without_showing_a_key(path, text, problem):
    path.write_text(text)
    with pytest.raises(ConfigError, match=problem) as raised:
        read_keys(path)
    assert ALICE not in str(raised.value) and BOB not in str(raised.value)


def test_a_file_that_cannot_be_read_is_named(path, tmp_path):
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="not a text in UTF-8"):
        read_keys(path)
    with pytest.raises(ConfigError, match="No such file"):
        read_keys(tmp_path / "none")
    with pytest.raises(ConfigError, match="directory"):
        read_keys(tmp_path)


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o620])
def test_a_file_that_others_can_read_is_warned_of(path, mode, caplog):
    path.write_text(ALICE)
    read_keys(path)
    assert caplog.text == ""
    path.chmod(mode)
    read_keys(path)
    assert "chmod 600" in caplog.text and ALICE not in caplog.text


class Clock:
    now_s = 100.0

    def __call__(self):
        return self.now_s


def has(store, key):
    return store.ring().find(key.encode()) is not None


def test_a_changed_file_is_read_again_at_most_once_a_second(path, caplog):
    caplog.set_level(logging.INFO)
    path.write_text(ALICE)
    clock = Clock()
    store = KeyStore(ServerConfig(api_keys=("sk-fixed-key",), api_keys_file=str(path)), clock)
    assert has(store, ALICE) and has(store, "sk-fixed-key") and not has(store, BOB)
    path.write_text(BOB)
    clock.now_s += 0.5
    assert has(store, ALICE)
    clock.now_s += 0.5
    assert has(store, BOB) and has(store, "sk-fixed-key") and not has(store, ALICE)
    assert "2 keys are valid" in caplog.text and BOB not in caplog.text


@pytest.mark.parametrize(
    "spoil", [lambda path: path.write_text("{"), os.unlink, lambda path: path.write_text("")]
)
def test_a_spoiled_file_changes_nothing_and_is_said_once(path, spoil, caplog):
    path.write_text(ALICE)
    clock = Clock()
    store = KeyStore(ServerConfig(api_keys_file=str(path)), clock)
    spoil(path)
    for _ in range(3):
        clock.now_s += 1
        assert has(store, ALICE) and not store.open
    assert caplog.text.count("the keys stay as they were") == 1
    path.write_text(BOB)
    path.chmod(0o600)
    clock.now_s += 1
    assert has(store, BOB) and not has(store, ALICE)


def test_a_server_needs_a_file_that_is_right_from_the_beginning(path):
    with pytest.raises(ConfigError, match="has no keys"):
        KeyStore(ServerConfig(api_keys_file=str(path)))


def test_the_server_takes_keys_from_the_file_and_reloads_when_told(path):
    path.write_text(f"{ALICE} name=alice")

    def status(server, key):
        return server.raw(
            f"GET /v1/models HTTP/1.1\r\nHost: x\r\nx-api-key: {key}\r\nConnection: close\r\n\r\n".encode()
        )[0]

    with RunningServer(api_keys_file=str(path)) as server:
        assert (status(server, ALICE), status(server, BOB), server.get("/v1/models")[0]) == (200, 401, 401)
        path.write_text(f"{BOB} name=bob")
        server.server.reload()
        assert (status(server, ALICE), status(server, BOB)) == (401, 200)
