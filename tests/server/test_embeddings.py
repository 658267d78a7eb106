"""Embeddings, by the real OpenAI client."""

import base64
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import openai
import pytest

from tests.server.fake_engine import FakeEngine, embedding_of
from tests.server.running_server import RunningServer, eventually, post_bytes

MODEL = "fake-model"
PATH = "/v1/embeddings"


@pytest.fixture(scope="module")
def client(server: RunningServer) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as client:
        yield client


def ask(server, **fields):
    status, _, body = server.post(PATH, {"model": MODEL, **fields})
    return status, json.loads(body)


@pytest.mark.parametrize(
    "given, prompts",
    [
        ("abc", [b"abc"]),
        (["abc", "de"], [b"abc", b"de"]),
        (list(b"abc"), [b"abc"]),
        ([list(b"abc"), list(b"de")], [b"abc", b"de"]),
    ],
)
def test_the_four_forms_of_input(client, given, prompts):
    answer = client.embeddings.create(model=MODEL, input=given)  # asks for base64
    assert [item.index for item in answer.data] == list(range(len(prompts)))
    for item, prompt in zip(answer.data, prompts, strict=True):
        np.testing.assert_array_equal(np.array(item.embedding, np.float32), embedding_of(list(prompt)))
    num_tokens = sum(map(len, prompts))
    assert (answer.usage.prompt_tokens, answer.usage.total_tokens) == (num_tokens, num_tokens)
    assert (answer.object, answer.data[0].object, answer.model) == ("list", "embedding", MODEL)


def test_both_encodings_say_the_same(server):
    numbers = ask(server, input="abc")[1]["data"][0]["embedding"]
    coded = ask(server, input="abc", encoding_format="base64")[1]["data"][0]["embedding"]
    expected = embedding_of(list(b"abc"))
    np.testing.assert_array_equal(np.array(numbers, np.float32), expected)
    np.testing.assert_array_equal(np.frombuffer(base64.b64decode(coded), "<f4"), expected)


def test_many_inputs_come_in_order_and_never_all_at_once():
    engine = FakeEngine(capacity=16)
    with RunningServer(engine, max_waiting=64) as server:
        texts = [f"{'x' * (number % 90)}{number}" for number in range(300)]
        status, answer = ask(server, input=texts)
        assert status == 200
        for text, item in zip(texts, answer["data"], strict=True):
            np.testing.assert_array_equal(
                np.array(item["embedding"], np.float32), embedding_of(list(text.encode()))
            )
        engine.held = True
        with ThreadPoolExecutor(1) as pool:
            future = pool.submit(ask, server, input=texts)
            eventually(lambda: len(engine.running) + len(engine.waiting) == 64, "the first of them")
            assert ask(server, input="x")[0] == 429
            engine.held = False
            assert future.result()[0] == 200


def test_all_inputs_of_a_request_count_as_queued_tokens():
    engine = FakeEngine()
    engine.held = True
    with RunningServer(engine, max_queued_tokens=1000) as server, ThreadPoolExecutor(1) as pool:
        future = pool.submit(ask, server, input=["xxxx"] * 200)
        eventually(lambda: len(engine.running) == 64, "the first of them")
        status, answer = ask(server, input="x" * 201)
        assert (status, answer["error"]["code"]) == (429, "queue_full")
        engine.held = False
        assert future.result()[0] == 200
        assert ask(server, input="x" * 201)[0] == 200


def test_the_salt_reaches_the_engine(server):
    assert ask(server, input="x", cache_salt="ada")[0] == 200
    assert server.engine.salts[-1] == "ada"


@pytest.mark.parametrize(
    "fields, param",
    [
        ({"input": None}, "input"),
        ({"input": ""}, "input"),
        ({"input": []}, "input"),
        ({"input": ["a", ""]}, "input[1]"),
        ({"input": ["a", 5]}, "input"),
        ({"input": [257]}, "input"),
        ({"input": [[1], [257]]}, "input[1]"),
        ({"input": ["a"] * 2049}, "input"),
        ({"input": "x" * 600}, "input"),
        ({"input": "x", "encoding_format": "int8"}, "encoding_format"),
        ({"input": "x", "dimensions": 0}, "dimensions"),
        ({"input": "x", "dimensions": 3}, "dimensions"),
        ({"input": "x", "truncate_prompt_tokens": 0}, "truncate_prompt_tokens"),
        ({"input": "x", "truncation_side": "right"}, "truncation_side"),
        ({"input": "x", "normalize": False}, "normalize"),
    ],
)
def test_bad_requests_are_named(server, fields, param):
    status, answer = ask(server, **fields)
    assert (status, answer["error"]["param"]) == (400, param), answer
    assert len(answer["error"]["message"]) < 400


def test_what_changes_nothing_is_accepted(server):
    assert ask(server, input="x", dimensions=4, user="u", encoding_format=None, private=1)[0] == 200


def test_other_models_and_methods_are_refused(server):
    assert ask(server, input="x", model="other")[0] == 404
    assert server.get(PATH)[0] == 405


def test_the_model_card_says_how_vectors_are_made(client):
    card = client.models.retrieve(MODEL)
    assert card.embedding == {"dimensions": 4, "pooling": "mean", "normalized": True}


def test_a_client_that_leaves_ends_its_request():
    engine = FakeEngine()
    engine.held = True
    with RunningServer(engine) as server:
        with server.connect() as connection:
            body = {"model": MODEL, "input": ["a", "b"]}
            connection.sendall(post_bytes(PATH, json.dumps(body).encode()))
            eventually(lambda: len(engine.running) == 2, "they run")
        eventually(lambda: len(engine.aborted) == 2 and not engine.running, "aborted")
        engine.held = False
        assert ask(server, input="x")[0] == 200


def test_a_dead_engine_embeds_nothing():
    engine = FakeEngine()
    engine.held = True
    with RunningServer(engine) as server, ThreadPoolExecutor(1) as pool:
        future = pool.submit(ask, server, input=["a", "b"])
        eventually(lambda: len(engine.running) == 2, "they run")
        engine.die()
        status, answer = future.result()
        assert (status, answer["error"]["code"]) == (503, "engine_dead")
