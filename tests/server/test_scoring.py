"""Prompt log-probabilities and echo over HTTP, from the real model, as clients and lm-eval ask for them."""

import asyncio
from operator import itemgetter

import openai
import pytest

from redline import LLM, AsyncLLM, SamplingParams
from tests.model_file import smollm2
from tests.server.running_server import RunningServer

pytestmark = pytest.mark.model

TEXT = "The cat sat on the mat. Gr\u00fc\u00dfe \U0001f600!"


@pytest.fixture(scope="module")
def server():
    engine = AsyncLLM(str(smollm2()), max_context=256, max_batch=8, kv_memory="64MiB")
    try:
        with RunningServer(engine, aliases=("m",)) as server:
            yield server
    finally:
        asyncio.run(engine.close())


@pytest.fixture(scope="module")
def client(server):
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as client:
        yield client


@pytest.fixture(scope="module")
def llm():
    return LLM(str(smollm2()), max_context=256, kv_memory="64MiB")


def test_echo_lists_the_prompt_before_the_answer(client, llm):
    options = {"model": "m", "prompt": TEXT, "max_tokens": 4, "temperature": 0, "logprobs": 2}
    choice = client.completions.create(**options, echo=True).choices[0]
    answer = client.completions.create(**options).choices[0]
    [scored] = llm.generate(TEXT, SamplingParams(max_tokens=0, prompt_logprobs=2))
    num_prompt = len(scored.prompt_token_ids)
    got = choice.logprobs
    assert choice.text == TEXT + answer.text
    assert got.token_logprobs[:num_prompt] == [None] + [e.logprob for e in scored.prompt_logprobs[1:]]
    assert got.token_logprobs[num_prompt:] == answer.logprobs.token_logprobs
    assert got.tokens[num_prompt:] == answer.logprobs.tokens
    assert got.top_logprobs[0] is None and got.top_logprobs[num_prompt:] == answer.logprobs.top_logprobs
    for entry, name, top in zip(
        scored.prompt_logprobs[1:], got.tokens[1:num_prompt], got.top_logprobs[1:num_prompt], strict=True
    ):
        assert top[name] == entry.logprob and max(top.values()) == entry.top[0][1] and len(top) <= 3
    whole = [token for token in got.tokens if not token.startswith("bytes:")]
    starts = [at for at, token in zip(got.text_offset, got.tokens, strict=True) if token in whole]
    assert all(choice.text.startswith(token, at) for at, token in zip(starts, whole, strict=True))
    assert got.text_offset[num_prompt] == len(TEXT)


def test_a_stream_says_the_same_in_parts(client):
    options = {
        "model": "m",
        "prompt": [TEXT, "One two"],
        "n": 2,
        "max_tokens": 3,
        "logprobs": 1,
        "echo": True,
    }
    whole = client.completions.create(**options, seed=7).choices
    parts = {choice.index: [] for choice in whole}
    for chunk in client.completions.create(**options, seed=7, stream=True):
        for choice in chunk.choices:
            parts[choice.index].append(choice)
    for choice in whole:
        mine = parts[choice.index]
        assert "".join(part.text for part in mine) == choice.text
        for name in ("tokens", "token_logprobs", "text_offset", "top_logprobs"):
            joined = [entry for part in mine for entry in getattr(part.logprobs, name)]
            assert joined == getattr(choice.logprobs, name)


def test_nothing_but_the_prompt(client):
    options = {"model": "m", "prompt": TEXT, "max_tokens": 0, "echo": True}
    answer = client.completions.create(**options, logprobs=0)
    [choice] = answer.choices
    assert (choice.text, choice.finish_reason, answer.usage.completion_tokens) == (TEXT, "length", 0)
    assert len(choice.logprobs.tokens) == answer.usage.prompt_tokens
    assert client.completions.create(**options).choices[0].text == TEXT
    [chunk] = client.completions.create(**options, logprobs=0, stream=True)
    assert chunk.choices[0].logprobs == choice.logprobs and chunk.choices[0].finish_reason == "length"


def test_prompt_logprobs_are_listed_as_vllm_does(client, llm):
    extra = {"prompt_logprobs": 2}
    [choice] = client.completions.create(model="m", prompt=TEXT, max_tokens=0, extra_body=extra).choices
    [scored] = llm.generate(TEXT, SamplingParams(max_tokens=0, prompt_logprobs=2))
    assert choice.text == "" and choice.logprobs is None
    assert choice.prompt_logprobs[0] is None
    for entry, listed in zip(scored.prompt_logprobs[1:], choice.prompt_logprobs[1:], strict=True):
        chosen = listed[str(entry.token_id)]
        assert (chosen["logprob"], chosen["rank"]) == (entry.logprob, entry.rank)
        assert [token_id for token_id, other in listed.items() if other["rank"] <= 2] == [
            str(token_id) for token_id, _ in entry.top
        ]
        assert chosen["decoded_token"] == llm.tokenizer.token_bytes(entry.token_id).decode(errors="replace")
    chunks = list(
        client.completions.create(model="m", prompt=TEXT, max_tokens=2, extra_body=extra, stream=True)
    )
    assert chunks[0].choices[0].prompt_logprobs == choice.prompt_logprobs
    assert not any(hasattr(chunk.choices[0], "prompt_logprobs") for chunk in chunks[1:])


def test_conversations_are_scored_too(client, llm):
    messages = [{"role": "user", "content": "Hello"}]
    options = {"model": "m", "messages": messages, "extra_body": {"prompt_logprobs": 0}}
    answer = client.chat.completions.create(**options, max_tokens=0)
    [scored] = llm.chat(messages, SamplingParams(max_tokens=0, prompt_logprobs=0))
    got = [next(iter(entry.values()))["logprob"] for entry in answer.prompt_logprobs[1:]]
    assert got == [entry.logprob for entry in scored.prompt_logprobs[1:]]
    assert (answer.choices[0].message.content, answer.choices[0].finish_reason) == ("", "length")
    first, *rest = client.chat.completions.create(**options, max_tokens=2, stream=True)
    assert first.prompt_logprobs == answer.prompt_logprobs
    assert not any(hasattr(chunk, "prompt_logprobs") for chunk in rest)


@pytest.mark.parametrize(
    "fields, param",
    [
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": 0, "echo": True, "n": 2}, "n"),
        ({"prompt_logprobs": 21}, "prompt_logprobs"),
        ({"prompt_logprobs": -1}, "prompt_logprobs"),
        ({"logprob_start_len": 3}, "logprob_start_len"),
        ({"echo": True, "logprobs": 6}, "logprobs"),
    ],
)
def test_what_is_not_accepted_is_named(client, fields, param):
    with pytest.raises(openai.BadRequestError) as caught:
        client.completions.create(model="m", prompt="x", extra_body=fields)
    assert caught.value.param == param


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
def test_a_conversation_without_anything_to_say_is_refused(client, name):
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(model="m", messages=[{"role": "user", "content": "x"}], **{name: 0})
    assert caught.value.param == name


def lm_eval_scores(answer, context_lengths):
    """What lm-eval's `local-completions` reads from an answer: it asks for one token more, and drops it."""
    found = []
    for choice, start in zip(
        sorted(answer["choices"], key=itemgetter("index")), context_lengths, strict=True
    ):
        logprobs = choice["logprobs"]["token_logprobs"][start:-1]
        likeliest = [max(top.values()) for top in choice["logprobs"]["top_logprobs"][start:-1]]
        found.append((sum(logprobs), logprobs == likeliest))
    return found


def test_lm_eval_gets_what_the_python_api_says(client, llm):
    context = "The capital of France is"
    pairs = [(context, f" {city}") for city in ("Paris", "Rome", "New York City")] + [("One two", " three")]
    contexts = [llm.tokenizer.encode(context) for context, _ in pairs]
    prompts = [llm.tokenizer.encode(context + continuation) for context, continuation in pairs]
    body = {"prompt": prompts, "temperature": 0, "max_tokens": 1, "logprobs": 1, "seed": 1234, "echo": True}
    answer = client.completions.create(model="m", **body).to_dict()
    expected = [(score.logprob, score.is_greedy) for score in llm.loglikelihood(pairs)]
    assert {is_greedy for _, is_greedy in expected} == {True, False}
    assert lm_eval_scores(answer, [len(ids) for ids in contexts]) == [
        (pytest.approx(logprob, rel=1e-12), is_greedy) for logprob, is_greedy in expected
    ]
