"""openai, 2.x and 3.x."""

import asyncio

import openai
from checks import (
    CAPITAL,
    KEY,
    LIMITED_KEY,
    LONG,
    MODEL,
    V1,
    WEATHER,
    abandoned,
    busy,
    check,
    is_unit,
    is_weather,
    main,
    raises,
)
from pydantic import BaseModel, Field

client = openai.OpenAI(base_url=V1, api_key=KEY, max_retries=0)
CHAT = {"model": MODEL, "messages": CAPITAL, "max_tokens": 32, "temperature": 0}
TOOL = {"type": "function", "function": {"name": "get_weather", "strict": True, "parameters": WEATHER}}


class City(BaseModel):
    name: str = Field(max_length=30)
    river: str = Field(max_length=30)


@check
def models():
    assert MODEL in [model.id for model in client.models.list()]
    assert client.models.retrieve(MODEL).owned_by == "redline"
    with raises(openai.NotFoundError):
        client.models.retrieve("no/such model")


@check
def chat():
    answer = client.chat.completions.create(**CHAT)
    (choice,) = answer.choices
    assert "Paris" in choice.message.content and choice.finish_reason == "stop"
    usage = answer.usage
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens > 30
    assert answer._request_id


@check
def stream():
    whole = client.chat.completions.create(**CHAT)
    chunks = list(client.chat.completions.create(**CHAT, stream=True, stream_options={"include_usage": True}))
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == whole.choices[0].message.content
    assert chunks[-1].usage.completion_tokens == whole.usage.completion_tokens


@check
async def several_at_once():
    async with openai.AsyncOpenAI(base_url=V1, api_key=KEY, max_retries=0) as many:
        answers = await asyncio.gather(*(many.chat.completions.create(**CHAT) for _ in range(4)))
        text = "".join(
            [
                chunk.choices[0].delta.content or ""
                async for chunk in await many.chat.completions.create(**CHAT, stream=True)
            ]
        )
    assert {answer.choices[0].message.content for answer in answers} == {text} and "Paris" in text


@check
def parse():
    asked = {**CHAT, "max_tokens": 96, "response_format": City}
    message = client.chat.completions.parse(**asked).choices[0].message
    assert isinstance(message.parsed, City) and message.parsed.name
    with client.chat.completions.stream(**asked) as events:
        assert events.get_final_completion().choices[0].message.parsed == message.parsed


@check
def tools():
    asked = {**CHAT, "max_tokens": 128, "tools": [TOOL]}
    named = {"type": "function", "function": {"name": "get_weather"}}
    (choice,) = client.chat.completions.create(**asked, tool_choice=named).choices
    (call,) = choice.message.tool_calls
    assert choice.finish_reason == "tool_calls" and call.function.name == "get_weather"
    is_weather(call.function.arguments)
    with client.chat.completions.stream(**asked, tool_choice=named) as events:
        (again,) = events.get_final_completion().choices[0].message.tool_calls
    assert again.function.arguments == call.function.arguments
    result = {"role": "tool", "tool_call_id": call.id, "content": "rain"}
    answer = client.chat.completions.create(**{**asked, "messages": [*CAPITAL, choice.message, result]})
    assert answer.choices[0].message.content


@check
def completions():
    asked = {"model": MODEL, "prompt": "The capital of France is", "max_tokens": 4, "temperature": 0}
    (choice,) = client.completions.create(**asked, logprobs=2, echo=True).choices
    assert choice.text.startswith("The capital of France is Paris")
    scores = choice.logprobs
    assert "".join(scores.tokens) == choice.text and scores.token_logprobs[0] is None
    assert all(len(top) >= 2 for top in scores.top_logprobs[1:])


@check
def embeddings():
    one, two, again = client.embeddings.create(model=MODEL, input=["rain", "a car", "rain"]).data
    is_unit(one.embedding)
    assert one.embedding == again.embedding != two.embedding
    floats = client.embeddings.create(model=MODEL, input="rain", encoding_format="float")
    assert max(abs(a - b) for a, b in zip(floats.data[0].embedding, one.embedding, strict=True)) < 1e-6
    assert floats.usage.prompt_tokens == floats.usage.total_tokens > 0


@check
def responses():
    asked = {"model": MODEL, "input": CAPITAL[0]["content"], "max_output_tokens": 32, "temperature": 0}
    first = client.responses.create(**asked)
    assert "Paris" in first.output_text and first.status == "completed"
    with client.responses.stream(**asked) as events:
        assert events.get_final_response().output_text == first.output_text
    follow = client.responses.create(**{**asked, "input": "Is it large?"}, previous_response_id=first.id)
    assert follow.usage.input_tokens > first.usage.input_tokens
    assert client.responses.retrieve(first.id).output_text == first.output_text
    client.responses.delete(first.id)
    with raises(openai.NotFoundError):
        client.responses.retrieve(first.id)


@check
def responses_tools():
    tool = {"type": "function", "name": "get_weather", "strict": True, "parameters": WEATHER}
    asked = {"model": MODEL, "max_output_tokens": 128, "temperature": 0, "tools": [tool]}
    choice = {"type": "function", "name": "get_weather"}
    response = client.responses.create(**asked, input=CAPITAL, tool_choice=choice)
    (call,) = [item for item in response.output if item.type == "function_call"]
    is_weather(call.arguments)
    result = {"type": "function_call_output", "call_id": call.call_id, "output": "rain"}
    answer = client.responses.create(**asked, input=[result], previous_response_id=response.id)
    assert answer.output


@check
def responses_parse():
    asked = {"model": MODEL, "input": CAPITAL, "max_output_tokens": 96, "temperature": 0}
    assert isinstance(client.responses.parse(**asked, text_format=City).output_parsed, City)


@check
def errors():
    with raises(openai.NotFoundError, code="model_not_found"):
        client.chat.completions.create(**{**CHAT, "model": "gpt-7"})
    with raises(openai.BadRequestError, param="temperature"):
        client.chat.completions.create(**{**CHAT, "temperature": 3})
    with raises(openai.BadRequestError, param="temperature"):
        client.chat.completions.create(**{**CHAT, "temperature": 3}, stream=True)
    with raises(openai.BadRequestError, code="context_length_exceeded"):
        client.chat.completions.create(**{**CHAT, "messages": [{"role": "user", "content": "x " * 9999}]})
    with raises(openai.AuthenticationError):
        client.with_options(api_key="wrong").models.list()


@check
def retries():
    with busy():
        limited = client.with_options(api_key=LIMITED_KEY)
        with raises(openai.RateLimitError, code="too_many_requests"):
            limited.chat.completions.create(**CHAT)
        answer = limited.with_options(max_retries=5).chat.completions.create(**CHAT)
    assert "Paris" in answer.choices[0].message.content


@check
def leaving():
    with abandoned():
        asked = {**CHAT, "max_tokens": LONG, "stream": True, "extra_body": {"ignore_eos": True}}
        with client.chat.completions.create(**asked) as chunks:
            next(iter(chunks))


@check
def timeout():
    with abandoned(), raises(openai.APITimeoutError):
        asked = {**CHAT, "max_tokens": LONG, "extra_body": {"ignore_eos": True}}
        client.with_options(timeout=0.5).chat.completions.create(**asked)


main()
