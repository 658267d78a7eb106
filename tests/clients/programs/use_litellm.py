"""litellm."""

import asyncio
import os

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # it downloads the map otherwise

import litellm
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

ASKED = {
    "model": f"openai/{MODEL}",
    "messages": CAPITAL,
    "max_tokens": 32,
    "temperature": 0,
    "api_base": V1,
    "api_key": KEY,
}
TOOL = {"type": "function", "function": {"name": "get_weather", "parameters": WEATHER}}


class City(BaseModel):
    name: str = Field(max_length=30)


@check
def chat():
    for provider in ("openai", "hosted_vllm", "custom_openai"):
        answer = litellm.completion(**{**ASKED, "model": f"{provider}/{MODEL}"})
        assert "Paris" in answer.choices[0].message.content, provider
        assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens


@check
def stream():
    whole = litellm.completion(**ASKED)
    chunks = list(litellm.completion(**ASKED, stream=True, stream_options={"include_usage": True}))
    assert (
        "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == whole.choices[0].message.content
    )
    rebuilt = litellm.stream_chunk_builder(chunks, messages=CAPITAL)
    assert rebuilt.usage.completion_tokens == whole.usage.completion_tokens


@check
async def several_at_once():
    answers = await asyncio.gather(*(litellm.acompletion(**ASKED) for _ in range(3)))
    (text,) = {answer.choices[0].message.content for answer in answers}
    assert "Paris" in text


@check
def text_completion():
    asked = {**ASKED, "model": f"text-completion-openai/{MODEL}", "prompt": "The capital of France is"}
    del asked["messages"]
    assert "Paris" in litellm.text_completion(**asked).choices[0].text


@check
def tools():
    named = {"type": "function", "function": {"name": "get_weather"}}
    answer = litellm.completion(**{**ASKED, "max_tokens": 128}, tools=[TOOL], tool_choice=named)
    (call,) = answer.choices[0].message.tool_calls
    assert call.function.name == "get_weather" and answer.choices[0].finish_reason == "tool_calls"
    is_weather(call.function.arguments)


@check
def structured_output():
    answer = litellm.completion(**{**ASKED, "max_tokens": 64}, response_format=City)
    assert City.model_validate_json(answer.choices[0].message.content).name


@check
def embeddings():
    asked = {"model": f"openai/{MODEL}", "input": ["rain"], "api_base": V1, "api_key": KEY}
    is_unit(litellm.embedding(**asked).data[0]["embedding"])


@check
def responses():
    asked = {"model": f"openai/{MODEL}", "input": CAPITAL[0]["content"], "api_base": V1, "api_key": KEY}
    response = litellm.responses(**asked, max_output_tokens=32, temperature=0)
    assert "Paris" in response.output[0].content[0].text


@check
def messages():
    """litellm translates Anthropic's API on its own side."""
    asked = {**ASKED, "max_tokens": 32}
    answer = asyncio.run(litellm.anthropic.messages.acreate(**asked))
    assert "Paris" in answer["content"][0]["text"]


@check
def errors():
    with raises(litellm.NotFoundError):
        litellm.completion(**{**ASKED, "model": "openai/gpt-7"})
    with raises(litellm.BadRequestError):
        litellm.completion(**{**ASKED, "temperature": 3})
    with raises(litellm.ContextWindowExceededError):
        litellm.completion(**{**ASKED, "messages": [{"role": "user", "content": "x " * 9999}]})
    with raises(litellm.AuthenticationError):
        litellm.completion(**{**ASKED, "api_key": "wrong"})


@check
def retries():
    with busy():
        limited = {**ASKED, "api_key": LIMITED_KEY}
        with raises(litellm.RateLimitError):
            litellm.completion(**limited, max_retries=0)
        answer = litellm.completion(**limited, max_retries=5)
    assert "Paris" in answer.choices[0].message.content


@check
def leaving():
    with abandoned():
        chunks = litellm.completion(
            **{**ASKED, "max_tokens": LONG}, stream=True, extra_body={"ignore_eos": True}
        )
        next(iter(chunks))
        chunks.completion_stream.close()


main()
