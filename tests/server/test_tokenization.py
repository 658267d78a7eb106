"""Tokenising over HTTP, in the shapes of three servers."""

import json
import threading
import time

import pytest

from tests.model_file import smollm2
from tests.server.running_server import RunningServer

TEXT = "h\u00e9"
BYTES = list(TEXT.encode())


def ask(server, path, body):
    status, _, answer = server.post(path, body)
    return status, json.loads(answer)


def tokenize(server, **body):
    status, answer = ask(server, "/tokenize", body)
    assert status == 200, answer
    return answer


def test_prompts_are_answered_as_vllm_does(server):
    answer = tokenize(server, model="fake-model", prompt=TEXT)
    assert answer == {"count": 4, "max_model_len": 512, "tokens": [256, *BYTES]}
    answer = tokenize(server, prompt=TEXT, add_special_tokens=False, return_token_strs=True)
    assert answer["tokens"] == BYTES and answer["token_strs"] == [f"<{byte}>" for byte in BYTES]
    assert tokenize(server, prompt="", add_special_tokens=False)["count"] == 0


def test_messages_go_through_the_template(server):
    messages = [{"role": "user", "content": [{"type": "text", "text": "hi"}]}]
    answer = tokenize(server, messages=messages)
    assert bytes(answer["tokens"]) == b"[user]hi[assistant]"
    answer = tokenize(server, messages=messages, add_generation_prompt=False, add_special_tokens=False)
    assert bytes(answer["tokens"]) == b"[user]hi"


def test_content_is_answered_as_llama_cpp_does(server):
    assert tokenize(server, content=TEXT) == {"tokens": BYTES}
    assert tokenize(server, content=TEXT, add_special=True) == {"tokens": [256, *BYTES]}
    assert tokenize(server, content=TEXT, with_pieces=True)["tokens"] == [
        {"id": BYTES[0], "piece": "h"},
        {"id": BYTES[1], "piece": [BYTES[1]]},
        {"id": BYTES[2], "piece": [BYTES[2]]},
    ]


def test_inputs_are_answered_as_tgi_does(server):
    assert tokenize(server, inputs=TEXT) == [
        {"id": 256, "text": "", "start": 0, "stop": 0},
        {"id": BYTES[0], "text": "h", "start": 0, "stop": 1},
        {"id": BYTES[1], "text": "\u00e9", "start": 1, "stop": 2},
        {"id": BYTES[2], "text": "\u00e9", "start": 1, "stop": 2},
    ]
    assert [span["start"] for span in tokenize(server, inputs="s", add_special_tokens=False)] == [0]
    # The text of the token that was added has an "s" too.
    assert tokenize(server, inputs="s")[1] == {"id": ord("s"), "text": "s", "start": 0, "stop": 1}


def test_control_tokens_are_read_unless_told_otherwise(server):
    for name in ("prompt", "content"):
        options = {name: "a</s>", "add_special_tokens": False}
        assert tokenize(server, **options)["tokens"] == [97, 256]
        assert tokenize(server, **options, parse_special=False)["tokens"] == list(b"a</s>")


def test_tokens_become_text_under_both_names(server):
    assert ask(server, "/detokenize", {"tokens": BYTES}) == (200, {"prompt": TEXT, "content": TEXT})
    assert ask(server, "/detokenize", {"model": "fake-model", "tokens": []})[1]["content"] == ""


@pytest.mark.parametrize(
    "body, param",
    [
        ({}, "prompt"),
        ({"prompt": "a", "content": "b"}, "content"),
        ({"prompt": "a", "messages": [{"role": "user", "content": "x"}]}, "messages"),
        ({"prompt": 5}, "prompt"),
        ({"prompt": "a" * (2**20 + 1)}, "prompt"),
        ({"content": ["a"]}, "content"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "user", "content": "x"}], "add_special_tokens": True}, "add_special_tokens"),
        ({"prompt": "a", "add_special_tokens": "yes"}, "add_special_tokens"),
        ({"prompt": "a", "chat_template": "{{ 1 }}"}, "chat_template"),
        ({"prompt": "a", "tools": [{}]}, "tools"),
        ({"prompt": "a", "model": ""}, "model"),
    ],
)
def test_bad_bodies_are_named(server, body, param):
    status, answer = ask(server, "/tokenize", body)
    assert (status, answer["error"]["param"]) == (400, param)
    assert len(answer["error"]["message"]) < 400


@pytest.mark.parametrize("tokens", [None, "a", [-1], [257], [2**31], [1.5], [True], [[1]], {}])
def test_bad_token_ids_are_named(server, tokens):
    status, answer = ask(server, "/detokenize", {"tokens": tokens})
    assert status == 400 and answer["error"]["param"].startswith("tokens")


def test_an_unknown_model_is_a_404_and_another_method_a_405(server):
    for path, field in (("/tokenize", {"prompt": "a"}), ("/detokenize", {"tokens": [1]})):
        assert ask(server, path, {"model": "other", **field})[0] == 404
        assert server.get(path)[0] == 405


def test_the_chat_template_is_told_only_where_the_operator_wants_it(server):
    status, _, body = server.get("/tokenizer_info")
    assert status == 501 and "--tokenizer-info" in json.loads(body)["error"]["message"]
    with RunningServer(tokenizer_info=True) as open_server:
        info = json.loads(open_server.get("/tokenizer_info")[2])
    assert info["eos_token"] == "</s>" and info["pad_token"] is None
    assert info["chat_template"] == "[{{ role }}]" and info["model_max_length"] == 512


def test_launchers_find_what_they_ask_for(server):
    assert server.get("/ping")[::2] == (200, b"")
    assert server.post("/ping", {})[0] == 200
    assert json.loads(server.get("/load")[2]) == {"server_load": 0}
    assert set(json.loads(server.get("/version")[2])) == {"version"}


def test_long_texts_wait_for_each_other_and_for_nobody_else():
    """One thread computes; when the queue is full the next is refused at once."""
    with RunningServer(max_waiting=2) as server:
        entered, leave = threading.Event(), threading.Event()
        encode = server.engine.tokenizer.encode

        inside = []

        def slow_encode(*args, **options):
            inside.append(args)
            entered.set()
            assert leave.wait(20)
            return encode(*args, **options)

        server.engine.tokenizer.encode = slow_encode
        posts = [threading.Thread(target=tokenize, args=(server,), kwargs={"prompt": "a"}) for _ in range(2)]
        posts[0].start()
        assert entered.wait(20)
        posts[1].start()
        while server.server._running and len(server.server._running) < 2:
            time.sleep(0.002)
        assert server.get("/health")[0] == 200
        assert json.loads(server.get("/load")[2]) == {"server_load": 2}
        assert ask(server, "/tokenize", {"prompt": "a"})[0] == 429
        assert len(inside) == 1  # the other one waits for it
        leave.set()
        for post in posts:
            post.join()


def test_a_call_ends_with_the_time_for_requests():
    with RunningServer(request_timeout_s=0.2) as server:
        leave = threading.Event()
        server.engine.tokenizer.encode = lambda *_, **__: [1] if leave.wait(20) else []
        status, answer = ask(server, "/tokenize", {"prompt": "a"})
        leave.set()
        assert (status, answer["error"]["code"]) == (504, "request_timeout")
        assert tokenize(server, prompt="a")["tokens"] == [1]


def test_a_dead_engine_tokenises_nothing(own_server):
    own_server.engine.die()
    assert ask(own_server, "/tokenize", {"prompt": "a"})[0] == 503
    assert own_server.get("/ping")[0] == 503


@pytest.mark.model
def test_tokenising_lets_other_threads_run():
    """While a long text is tokenised the interpreter's lock is free, or the event loop would stand still."""
    from redline.models.gguf_file import GGUFFile
    from redline.models.tokenizer import Tokenizer

    tokenizer = Tokenizer.from_gguf(GGUFFile(smollm2()).metadata)
    ids: list[int] = []
    thread = threading.Thread(target=lambda: ids.extend(tokenizer.encode("hello world it is 12 " * 20_000)))
    thread.start()
    num_turns = 0
    while not ids:
        time.sleep(0.001)
        num_turns += 1
    thread.join()
    assert num_turns >= 10, f"{num_turns = } while {len(ids)} tokens were made"
