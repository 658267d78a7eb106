"""Scores and ranks by the likelihood of a question behind a document."""

import json
import math

import pytest

from redline.decoding.sampler import TokenLogprob
from tests.server import fake_engine

MODEL = "fake-model"
SCORE, RERANK = "/v1/score", "/rerank"


@pytest.fixture(autouse=True)
def scores(monkeypatch):
    """The tokens of a question are the likelier, the more "x" the document has."""

    def of_prompt(prompt, params):
        start = params.logprob_start_len
        logprob = -1.0 / (1 + prompt[:start].count(ord("x")))
        return [*[None] * start, *(TokenLogprob(token, logprob, 1, []) for token in prompt[start:])]

    monkeypatch.setattr(fake_engine, "_scores", of_prompt)


def ask(server, path, **fields):
    status, _, body = server.post(path, {"model": MODEL, **fields})
    return status, json.loads(body)


def expected(num_x):
    return math.exp(-1.0 / (1 + num_x))


@pytest.mark.parametrize("path", ["/score", SCORE])
def test_one_question_for_all_documents_or_one_for_each(server, path):
    status, answer = ask(server, path, text_1="why", text_2=["x", "xx"])
    assert status == 200 and answer["object"] == "list" and answer["id"].startswith("score-")
    assert [(each["index"], each["object"]) for each in answer["data"]] == [(0, "score"), (1, "score")]
    assert [each["score"] for each in answer["data"]] == pytest.approx([expected(1), expected(2)])
    assert answer["usage"] == {"prompt_tokens": 13, "total_tokens": 13}
    _, answer = ask(server, path, queries=["x why", "how"], documents=["a", "xxx"])
    assert [each["score"] for each in answer["data"]] == pytest.approx([expected(0), expected(3)])
    assert [bytes(prompt) for prompt, _ in server.engine.seen[-2:]] == [b"a\n\nx why", b"xxx\n\nhow"]
    assert [params.logprob_start_len for _, params in server.engine.seen[-2:]] == [3, 5]


@pytest.mark.parametrize("path", [RERANK, "/v1/rerank", "/v2/rerank"])
def test_the_best_come_first(server, path):
    documents = ["a", "xx", {"text": "x"}]
    status, answer = ask(server, path, query="why", documents=documents)
    assert status == 200 and [each["index"] for each in answer["results"]] == [1, 2, 0]
    assert [each["document"]["text"] for each in answer["results"]] == ["xx", "x", "a"]
    assert [each["relevance_score"] for each in answer["results"]] == pytest.approx(
        [expected(n) for n in (2, 1, 0)]
    )
    _, answer = ask(server, path, query="why", documents=documents, top_n=2, return_documents=False)
    assert [sorted(each) for each in answer["results"]] == [["index", "relevance_score"]] * 2


def test_more_pairs_than_run_at_once(server):
    documents = ["x" * (number % 50) + "a" for number in range(150)]
    _, answer = ask(server, SCORE, text_1="q", text_2=documents)
    assert [each["score"] for each in answer["data"]] == pytest.approx([expected(n % 50) for n in range(150)])
    status, _, told = server.get(f"/v1/redline/requests/{answer['id']}")
    assert status == 200 and len(json.loads(told)["prompts"]) == 150


@pytest.mark.parametrize(
    "path, fields, param",
    [
        (SCORE, {"text_2": "a"}, "text_1"),
        (SCORE, {"text_1": "a"}, "text_2"),
        (SCORE, {"text_1": ["a", "b"], "text_2": ["a", "b", "c"]}, "text_1"),
        (SCORE, {"text_1": "a", "text_2": []}, "text_2"),
        (SCORE, {"text_1": "a", "text_2": ["a", 5]}, "text_2[1]"),
        (SCORE, {"text_1": "a", "text_2": ["a", "b" * 600]}, "text_2[1]"),
        (SCORE, {"text_1": "a", "text_2": ["a"] * 2049}, "text_2"),
        (SCORE, {"text_1": "a", "queries": "a", "text_2": "b"}, "queries"),
        (SCORE, {"text_1": "a", "text_2": "b", "documents": ["c"]}, "documents"),
        (SCORE, {"text_1": "a", "text_2": "b", "truncate_prompt_tokens": 5}, "truncate_prompt_tokens"),
        (SCORE, {"text_1": "a", "text_2": "b", "priority": 5}, "priority"),
        (RERANK, {"documents": ["a"]}, "query"),
        (RERANK, {"query": "", "documents": ["a"]}, "query"),
        (RERANK, {"query": "a"}, "documents"),
        (RERANK, {"query": "a", "documents": "a"}, "documents"),
        (RERANK, {"query": "a", "documents": [{"title": "t"}]}, "documents[0]"),
        (RERANK, {"query": "a", "documents": ["a"], "top_n": -1}, "top_n"),
        (RERANK, {"query": "a", "documents": ["a"], "max_tokens_per_doc": 5}, "max_tokens_per_doc"),
        (RERANK, {"query": "a", "documents": ["a"], "model": None}, "model"),
    ],
)
def test_bad_requests_are_named(server, path, fields, param):
    status, answer = ask(server, path, **fields)
    assert (status, answer["error"]["param"]) == (400, param), answer
    assert ask(server, path, **{**fields, "model": "other"})[0] in (400, 404)
