"""Answers that list the log-probabilities of a prompt: their size is bounded, and making them is not for the
event loop."""

import json
import threading

import pytest

from redline.server import answer as answers
from redline.server.completions import CompletionAnswer
from tests.server.running_server import RunningServer

COMPLETIONS, CHAT = "/v1/completions", "/v1/chat/completions"
PROMPT = "x" * 400


def ask(server, path=COMPLETIONS, **fields):
    source = {"messages": [{"role": "user", "content": PROMPT}]} if path == CHAT else {"prompt": PROMPT}
    body = {"model": "fake-model", "max_tokens": 1, **source, **fields}
    status, _, answer = server.post(path, body)
    return status, answer


@pytest.mark.parametrize(
    "param, fields",
    [
        ("prompt_logprobs", {"prompt_logprobs": 20, "n": 128}),
        ("prompt_logprobs", {"prompt_logprobs": 20, "prompt": [PROMPT] * 64, "n": 2, "stream": True}),
        ("logprobs", {"logprobs": 5, "echo": True, "prompt": [PROMPT] * 2, "n": 128}),
    ],
)
def test_more_than_one_answer_may_list_is_refused_by_name(param, fields):
    """128 answers to a prompt of 4,096 tokens were 570 MB, made on the event loop in a minute and a half."""
    with RunningServer(max_choices=256) as server:
        status, answer = ask(server, **fields)
    error = json.loads(answer)["error"]
    assert (status, error["param"]) == (400, param) and "524288" in error["message"]


def test_a_conversation_lists_its_prompt_once(server):
    assert ask(server, CHAT, prompt_logprobs=20, n=128)[0] == 200


@pytest.mark.parametrize("stream", [False, True])
def test_the_choices_share_what_is_listed_and_the_event_loop_makes_none_of_it(server, monkeypatch, stream):
    threads = []
    made = answers.prompt_logprobs

    def watched(*args):
        threads.append(threading.current_thread().name)
        return made(*args)

    monkeypatch.setattr(answers, "prompt_logprobs", watched)
    status, answer = ask(server, prompt_logprobs=1, n=3, stream=stream, seed=1)
    assert status == 200 and answer.count(b'"prompt_logprobs":[null,{') == 3
    (thread,) = threads
    assert thread.startswith("redline-aside")


@pytest.mark.parametrize("fields, aside", [({"logprobs": 5}, True), ({}, False)])
def test_whole_answers_with_logprobs_are_written_beside_the_event_loop(server, monkeypatch, fields, aside):
    threads = []
    made = CompletionAnswer.response

    def watched(self, choices):
        threads.append(threading.current_thread().name)
        return made(self, choices)

    monkeypatch.setattr(CompletionAnswer, "response", watched)
    assert ask(server, **fields)[0] == 200
    (thread,) = threads
    assert thread.startswith("redline-aside") == aside


def test_a_scored_stream_ends_as_others_do(server):
    fields = {"prompt_logprobs": 0, "n": 2, "max_tokens": 4, "seed": 3}
    status, answer = ask(server, **fields, stream=True, stream_options={"include_usage": True})
    *events, usage, done = answer.decode().removesuffix("\n\n").split("\n\n")
    assert status == 200 and done == "data: [DONE]"
    chunks = [json.loads(event.removeprefix("data: ")) for event in events]
    text = ["", ""]
    for chunk in chunks:
        text[chunk["choices"][0]["index"]] += chunk["choices"][0]["text"]
    whole = json.loads(ask(server, **fields)[1])
    assert text == [choice["text"] for choice in whole["choices"]]
    assert json.loads(usage.removeprefix("data: "))["usage"] == whole["usage"]
