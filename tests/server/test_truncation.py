"""truncate_prompt_tokens: the last tokens of a prompt stay."""

import json

import pytest

CHAT, COMPLETIONS, EMBEDDINGS = "/v1/chat/completions", "/v1/completions", "/v1/embeddings"
# The tokens of the fake engine are bytes, and 512 of them are its context.
LONG = "".join(chr(97 + place % 26) for place in range(2000))


def ask(server, path=COMPLETIONS, **fields):
    status, _, answer = server.post(path, {"model": "fake-model", **fields})
    return status, json.loads(answer)


def seen(server):
    return bytes(server.engine.seen[-1][0]).decode()


@pytest.mark.parametrize("prompt", [LONG, list(LONG.encode()), [LONG], [list(LONG.encode())]])
def test_the_last_tokens_of_a_prompt_stay(server, prompt):
    status, answer = ask(server, prompt=prompt, truncate_prompt_tokens=7, max_tokens=2, return_token_ids=True)
    assert status == 200 and seen(server) == LONG[-7:]
    assert answer["usage"]["prompt_tokens"] == 7
    assert answer["choices"][0]["prompt_token_ids"] == list(LONG[-7:].encode())


@pytest.mark.parametrize("max_tokens, kept", [(1, 511), (100, 412), (500, 12), (None, 512 - 16)])
def test_minus_one_keeps_what_fits_before_the_answer(server, max_tokens, kept):
    fields = {} if max_tokens is None else {"max_tokens": max_tokens}
    assert ask(server, prompt=LONG, truncate_prompt_tokens=-1, **fields)[0] == 200
    assert seen(server) == LONG[-kept:]


def test_a_conversation_is_cut_after_its_template(server):
    said = [{"role": "user", "content": LONG}]
    status, answer = ask(server, CHAT, messages=said, truncate_prompt_tokens=20, max_tokens=1)
    assert status == 200 and seen(server) == (LONG + "[assistant]")[-20:]
    assert answer["usage"]["prompt_tokens"] == 20
    assert ask(server, CHAT, messages=said, truncate_prompt_tokens=-1)[0] == 200  # one token has room
    assert seen(server) == (LONG + "[assistant]")[-511:]


def test_every_input_of_embeddings_is_cut(server):
    status, answer = ask(server, EMBEDDINGS, input=[LONG, "short"], truncate_prompt_tokens=9)
    assert status == 200 and answer["usage"]["prompt_tokens"] == 9 + len("short") + 1  # its first token
    assert answer["data"][0]["embedding"][1] == 9


@pytest.mark.parametrize("stream", [False, True])
def test_echo_and_log_probabilities_are_of_what_stays(server, stream):
    fields = {"truncate_prompt_tokens": 4, "echo": True, "logprobs": 0, "prompt_logprobs": 0, "max_tokens": 1}
    _, _, answer = server.post(
        COMPLETIONS, {"model": "fake-model", "prompt": LONG, "stream": stream, **fields}
    )
    choice = json.loads(answer.removeprefix(b"data: ").split(b"\n\n")[0])["choices"][0]
    assert choice["text"][:-1] == LONG[-4:] and len(choice["prompt_logprobs"]) == 4
    assert choice["logprobs"]["tokens"][:4] == list(LONG[-4:])
    assert choice["logprobs"]["text_offset"] == [0, 1, 2, 3, 4]


def test_a_short_prompt_stays_as_it_is(server):
    assert ask(server, prompt=[65, 66], truncate_prompt_tokens=100, max_tokens=1)[0] == 200
    assert seen(server) == "AB"


@pytest.mark.parametrize(
    "fields",
    [{"truncate_prompt_tokens": value} for value in (0, -2, 2**31, 1.5, "5", True)]
    + [{"truncate_prompt_tokens": 5, "suffix": "x"}],
)
def test_what_cannot_be_kept_is_refused_by_name(server, fields):
    status, answer = ask(server, prompt="x", **fields)
    assert (status, answer["error"]["param"]) == (400, "truncate_prompt_tokens"), answer


@pytest.mark.parametrize("value", [-1, 600])
def test_no_room_is_said_as_ever(server, value):
    fields = {"max_tokens": 512} if value == -1 else {}
    status, answer = ask(server, prompt=LONG, truncate_prompt_tokens=value, **fields)
    assert (status, answer["error"]["code"]) == (400, "context_length_exceeded")
    assert ask(server, prompt="", truncate_prompt_tokens=value)[1]["error"]["param"] == "prompt"
