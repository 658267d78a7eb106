"""langchain-openai."""

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
from langchain_openai import ChatOpenAI, OpenAI, OpenAIEmbeddings
from pydantic import BaseModel, Field

QUESTION = CAPITAL[0]["content"]
AT = {"base_url": V1, "api_key": KEY, "model": MODEL, "max_retries": 0}
chat_model = ChatOpenAI(**AT, temperature=0, max_tokens=128, stream_usage=True)


class City(BaseModel):
    """A city."""

    name: str = Field(max_length=30)


@check
def invoke():
    answer = chat_model.invoke([("system", "Answer in one sentence."), ("user", QUESTION)])
    assert "Paris" in answer.content and answer.usage_metadata["output_tokens"] > 3
    assert answer.response_metadata["finish_reason"] == "stop"


@check
def stream():
    whole = chat_model.invoke(QUESTION)
    chunks = list(chat_model.stream(QUESTION))
    assert "".join(chunk.content for chunk in chunks) == whole.content
    counts = [chunk.usage_metadata for chunk in chunks if chunk.usage_metadata]
    assert counts[-1]["output_tokens"] == whole.usage_metadata["output_tokens"]


@check
async def several_at_once():
    one, two = await chat_model.abatch([QUESTION, QUESTION])
    assert one.content == two.content and "Paris" in one.content


@check
def tools():
    tool = {"name": "get_weather", "description": "The weather", "parameters": WEATHER}
    answer = chat_model.bind_tools([tool], tool_choice="get_weather").invoke(QUESTION)
    (call,) = answer.tool_calls
    assert call["name"] == "get_weather"
    is_weather(call["args"])


@check
def structured_output():
    for method in ("json_schema", "function_calling"):
        city = chat_model.with_structured_output(City, method=method).invoke(QUESTION)
        assert isinstance(city, City) and city.name, method


@check
def responses():
    model = ChatOpenAI(**AT, temperature=0, max_tokens=32, use_responses_api=True)
    assert "Paris" in model.invoke(QUESTION).text


@check
def completions():
    assert "Paris" in OpenAI(**AT, temperature=0, max_tokens=8).invoke("The capital of France is")


@check
def embeddings():
    """Without the check of lengths, for which it would download another model's tokenizer."""
    model = OpenAIEmbeddings(**AT, check_embedding_ctx_length=False)
    one, two = model.embed_documents(["rain", "a car"])
    is_unit(one)
    assert one != two and model.embed_query("rain") == one


@check
def errors():
    with raises(openai.NotFoundError):
        ChatOpenAI(**{**AT, "model": "gpt-7"}).invoke(QUESTION)
    with raises(openai.BadRequestError):
        ChatOpenAI(**AT, temperature=3).invoke(QUESTION)


@check
def retries():
    with busy():
        limited = {**AT, "api_key": LIMITED_KEY, "temperature": 0}
        with raises(openai.RateLimitError):
            ChatOpenAI(**limited).invoke(QUESTION)
        answer = ChatOpenAI(**{**limited, "max_retries": 5}).invoke(QUESTION)
    assert "Paris" in answer.content


@check
def leaving():
    with abandoned():
        model = ChatOpenAI(**AT, max_tokens=LONG, extra_body={"ignore_eos": True})
        chunks = model.stream(QUESTION)
        next(chunks)
        chunks.close()


main()
