"""The real OpenAI client against the real server."""

import asyncio
from collections.abc import Iterator

import openai
import pytest

from tests.server.running_server import RunningServer

MODEL = "fake-model"
MESSAGES = [{"role": "user", "content": "Tell me"}]


@pytest.fixture(scope="module")
def client(server: RunningServer) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as client:
        yield client


def said(text):
    return [{"role": "user", "content": f"SAY:{text}"}]


def test_models(client):
    assert [model.id for model in client.models.list()] == [MODEL]
    model = client.models.retrieve(MODEL)
    assert model.owned_by == "redline" and model.max_model_len == 512
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("other")


def test_chat(client):
    answer = client.chat.completions.create(model=MODEL, messages=said("Gr\u00fc\u00dfe"))
    choice = answer.choices[0]
    assert choice.message.role == "assistant" and choice.message.content == "Gr\u00fc\u00dfe"
    assert choice.message.refusal is None and choice.logprobs is None and choice.finish_reason == "stop"
    assert answer.object == "chat.completion" and answer.id.startswith("chatcmpl-") and answer.model == MODEL
    num_prompt, num_output = len("[user]SAY:Gr\u00fc\u00dfe".encode()), len("Gr\u00fc\u00dfe".encode()) + 1
    assert answer.usage.prompt_tokens == num_prompt and answer.usage.completion_tokens == num_output
    assert answer.usage.total_tokens == num_prompt + num_output
    assert answer.usage.prompt_tokens_details.cached_tokens == 2
    assert answer._request_id and answer.id.endswith(answer._request_id)


def test_stream_says_the_same_as_the_whole_answer(client):
    options = {"model": MODEL, "messages": MESSAGES, "max_tokens": 20, "seed": 3}
    whole = client.chat.completions.create(**options)
    chunks = list(
        client.chat.completions.create(**options, stream=True, stream_options={"include_usage": True})
    )
    assert (
        "".join(c.choices[0].delta.content for c in chunks if c.choices) == whole.choices[0].message.content
    )
    assert {(c.id, c.created, c.model) for c in chunks} == {(chunks[0].id, chunks[0].created, MODEL)}
    assert [c.choices[0].delta.role for c in chunks if c.choices] == ["assistant"] + [None] * 20
    reasons = [c.choices[0].finish_reason for c in chunks if c.choices]
    assert reasons == [None] * 20 + ["length"]
    assert chunks[-1].choices == [] and chunks[-1].usage == whole.usage
    assert all(c.usage is None and "usage" in c.model_fields_set for c in chunks[:-1])


def test_stream_without_usage_has_none(client):
    chunks = list(client.chat.completions.create(model=MODEL, messages=MESSAGES, max_tokens=3, stream=True))
    assert len(chunks) == 4 and all(c.choices and "usage" not in c.model_fields_set for c in chunks)


def test_continuous_usage_counts_up(client):
    options = {"include_usage": True, "continuous_usage_stats": True}
    chunks = list(
        client.chat.completions.create(
            model=MODEL, messages=MESSAGES, max_tokens=3, stream=True, stream_options=options
        )
    )
    assert [c.usage.completion_tokens for c in chunks] == [1, 1, 2, 3, 3]
    assert {c.usage.prompt_tokens for c in chunks} == {len("[user]Tell me")}


def test_n_choices_whole_and_streamed(client):
    options = {"model": MODEL, "messages": MESSAGES, "max_tokens": 6, "n": 3}
    whole = client.chat.completions.create(**options)
    texts = [choice.message.content for choice in whole.choices]
    assert [choice.index for choice in whole.choices] == [0, 1, 2] and len(set(texts)) == 3
    assert whole.usage.completion_tokens == 18
    streamed = ["", "", ""]
    finished, roles = [], []
    for chunk in client.chat.completions.create(**options, stream=True):
        (choice,) = chunk.choices
        streamed[choice.index] += choice.delta.content or ""
        finished += [choice.index] if choice.finish_reason else []
        roles += [choice.index] if choice.delta.role else []
    assert streamed == texts and sorted(finished) == sorted(roles) == [0, 1, 2]


def test_chat_logprobs(client):
    options = {"model": MODEL, "messages": said("\u00e9"), "logprobs": True, "top_logprobs": 2}
    entries = client.chat.completions.create(**options).choices[0].logprobs.content
    assert [entry.bytes for entry in entries] == [[0xC3], [0xA9], list(b"</s>")]
    assert entries[0].logprob == -0.5 and entries[0].token == "\ufffd"
    assert [(top.bytes, top.logprob) for top in entries[0].top_logprobs] == [([0xC3], -0.5), ([66], -1.5)]
    chunks = list(client.chat.completions.create(**options, stream=True))
    assert [e for c in chunks if c.choices[0].logprobs for e in c.choices[0].logprobs.content] == entries
    plain = client.chat.completions.create(model=MODEL, messages=said("a"), logprobs=True)
    assert plain.choices[0].logprobs.content[0].top_logprobs == []


def test_completion_forms_agree(client):
    text = "Once"
    by_text = client.completions.create(model=MODEL, prompt=text, max_tokens=8)
    by_ids = client.completions.create(model=MODEL, prompt=list(text.encode()), max_tokens=8)
    both = client.completions.create(model=MODEL, prompt=["Twice", text], max_tokens=8)
    id_lists = client.completions.create(
        model=MODEL, prompt=[list(b"Twice"), list(text.encode())], max_tokens=8
    )
    assert by_text.choices[0].text == by_ids.choices[0].text == both.choices[1].text
    assert [c.text for c in both.choices] == [c.text for c in id_lists.choices]
    assert [c.index for c in both.choices] == [0, 1] and both.usage.prompt_tokens == 9
    assert len(client.completions.create(model=MODEL, prompt=text).choices[0].text) == 16


def test_completions_of_many_prompts_and_choices_stream(client):
    options = {"model": MODEL, "prompt": ["a", "b"], "n": 2, "max_tokens": 5}
    whole = client.completions.create(**options)
    streamed = [""] * 4
    for chunk in client.completions.create(**options, stream=True):
        streamed[chunk.choices[0].index] += chunk.choices[0].text
    assert streamed == [choice.text for choice in whole.choices] and len(set(streamed)) == 4


def test_completion_logprobs(client):
    options = {"model": MODEL, "prompt": "SAY:a\u00e9b", "logprobs": 2}
    logprobs = client.completions.create(**options).choices[0].logprobs
    assert logprobs.tokens == ["a", "bytes:\\xc3", "bytes:\\xa9", "b", "</s>"]
    assert logprobs.text_offset == [0, 1, 1, 2, 3]
    assert logprobs.token_logprobs == [-0.5] * 5
    assert logprobs.top_logprobs[0] == {"a": -0.5, "B": -1.5}
    chunks = list(client.completions.create(**options, stream=True))
    assert [offset for c in chunks for offset in c.choices[0].logprobs.text_offset] == [0, 1, 1, 2, 3]


def test_echo(client):
    assert client.completions.create(model=MODEL, prompt="SAY:x", echo=True).choices[0].text == "SAY:xx"
    ids = list(b"SAY:x")
    chunks = list(client.completions.create(model=MODEL, prompt=[ids, ids], echo=True, stream=True))
    for index in (0, 1):
        assert "".join(c.choices[0].text for c in chunks if c.choices[0].index == index) == "SAY:xx"


def test_echo_with_logprobs(client):
    """The fake engine scores every token of a prompt but the first with -1.5, and finds EOS likelier."""
    options = {"model": MODEL, "prompt": "SAY:\u00e9", "echo": True, "logprobs": 1}
    logprobs = client.completions.create(**options).choices[0].logprobs
    name, rest = ["bytes:\\xc3", "bytes:\\xa9"], ["S", "A", "Y", ":"]
    assert logprobs.tokens == [*rest, *name, *name, "</s>"]
    assert logprobs.token_logprobs == [None] + [-1.5] * 5 + [-0.5] * 3
    assert logprobs.text_offset == [0, 1, 2, 3, 4, 4, 5, 5, 6]
    assert logprobs.top_logprobs[:2] == [None, {"</s>": -0.25, "A": -1.5}]
    chunks = list(client.completions.create(**options, stream=True))
    assert [offset for c in chunks for offset in c.choices[0].logprobs.text_offset] == logprobs.text_offset
    both = client.completions.create(**options, extra_body={"prompt_logprobs": 3}).choices[0]
    assert both.logprobs == logprobs and [*both.prompt_logprobs[2]] == ["256", "65", "66", "89"]


def test_token_ids_are_returned_when_asked_for(client):
    extra = {"return_token_ids": True}
    chat = client.chat.completions.create(model=MODEL, messages=said("ab"), extra_body=extra)
    assert chat.prompt_token_ids == list(b"[user]SAY:ab") and chat.choices[0].token_ids == [*b"ab", 256]
    chunks = list(
        client.chat.completions.create(model=MODEL, messages=said("ab"), extra_body=extra, stream=True)
    )
    assert chunks[0].prompt_token_ids == list(b"[user]SAY:ab")
    assert [t for c in chunks[1:] for t in c.choices[0].token_ids] == [*b"ab", 256]
    done = client.completions.create(model=MODEL, prompt="SAY:ab", extra_body=extra)
    assert done.choices[0].prompt_token_ids == list(b"SAY:ab") and done.choices[0].token_ids == [*b"ab", 256]


def test_every_parameter_reaches_the_engine(client, server):
    client.chat.completions.create(
        model=MODEL,
        messages=MESSAGES,
        max_completion_tokens=9,
        temperature=0.5,
        top_p=0.75,
        presence_penalty=1.5,
        frequency_penalty=-1.5,
        seed=-7,
        stop=["x1", "x2"],
        logit_bias={"65": 2.5},
        logprobs=True,
        top_logprobs=3,
        user="somebody",
        metadata={"a": "b"},
        extra_body={
            "top_k": 7,
            "min_p": 0.25,
            "repetition_penalty": 1.25,
            "min_tokens": 2,
            "ignore_eos": True,
            "stop_token_ids": [5, 6],
            "include_stop_str_in_output": True,
            "skip_special_tokens": False,
            "cache_salt": "ada",
        },
    )
    _, params = server.engine.seen[-1]
    assert server.engine.salts[-1] == "ada"
    assert (params.max_tokens, params.temperature, params.top_p, params.seed) == (9, 0.5, 0.75, -7)
    assert (params.presence_penalty, params.frequency_penalty, params.repetition_penalty) == (1.5, -1.5, 1.25)
    assert (params.stop, params.logit_bias, params.logprobs) == (("x1", "x2"), {65: 2.5}, 3)
    assert (params.top_k, params.min_p, params.min_tokens, params.stop_token_ids) == (7, 0.25, 2, (5, 6))
    assert (params.ignore_eos, params.include_stop_str_in_output, params.skip_special_tokens) == (
        True,
        True,
        False,
    )


def test_top_p_zero_means_the_most_likely_token(client, server):
    client.completions.create(model=MODEL, prompt="x", max_tokens=1, top_p=0)
    _, params = server.engine.seen[-1]
    assert (params.top_k, params.top_p) == (1, 1.0)


def test_without_a_limit_a_chat_runs_to_the_end_of_the_context(client):
    answer = client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": "x" * 494}])
    assert answer.usage.total_tokens == 512 and answer.choices[0].finish_reason == "length"


@pytest.mark.parametrize("stream", [False, True])
def test_errors_are_mapped_before_any_event(client, stream):
    with pytest.raises(openai.NotFoundError) as caught:
        client.chat.completions.create(model="gpt-4", messages=MESSAGES, stream=stream)
    assert (caught.value.code, caught.value.param) == ("model_not_found", "model")
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(model=MODEL, messages=MESSAGES, temperature=-1, stream=stream)
    assert (caught.value.type, caught.value.param) == ("invalid_request_error", "temperature")
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(
            model=MODEL, messages=[{"role": "user", "content": "x" * 600}], stream=stream
        )
    assert (caught.value.code, caught.value.param) == ("context_length_exceeded", "messages")
    assert "606" in str(caught.value) and "512" in str(caught.value)
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(
            model=MODEL, messages=MESSAGES, max_completion_tokens=512, stream=stream
        )
    assert (caught.value.code, caught.value.param) == ("context_length_exceeded", "max_completion_tokens")
    with pytest.raises(openai.BadRequestError) as caught:
        client.completions.create(model=MODEL, prompt=["x", ""], stream=stream)
    assert caught.value.param == "prompt"
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(
            model=MODEL,
            messages=MESSAGES,
            tools=[{"type": "function", "function": {"name": "f"}}],
            stream=stream,
        )
    assert (caught.value.code, caught.value.param) == ("unsupported_parameter", "tools")


def test_many_requests_at_once_get_their_own_answers(server):
    async def ask(client, number):
        stream = number % 2 == 0
        answer = await client.chat.completions.create(
            model=MODEL, messages=said(f"answer {number}"), stream=stream
        )
        if not stream:
            return answer.choices[0].message.content
        return "".join([chunk.choices[0].delta.content or "" async for chunk in answer])

    async def ask_all():
        async with openai.AsyncOpenAI(base_url=f"{server.url}/v1", api_key="none") as client:
            return await asyncio.gather(*(ask(client, number) for number in range(60)))

    assert asyncio.run(ask_all()) == [f"answer {number}" for number in range(60)]


def test_aliases_are_answered_and_echoed():
    with (
        RunningServer(aliases=("gpt-4o", "org/name", MODEL)) as server,
        openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as client,
    ):
        assert [model.id for model in client.models.list()] == [MODEL, "gpt-4o", "org/name"]
        assert client.models.retrieve("org/name").root == MODEL
        assert client.completions.create(model="gpt-4o", prompt="x", max_tokens=1).model == "gpt-4o"
