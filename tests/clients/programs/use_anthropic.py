"""anthropic."""

import anthropic
from checks import (
    CAPITAL,
    KEY,
    LIMITED_KEY,
    LONG,
    MODEL,
    URL,
    WEATHER,
    abandoned,
    busy,
    check,
    is_weather,
    main,
    raises,
)

client = anthropic.Anthropic(base_url=URL, api_key=KEY, max_retries=0)
ASKED = {"model": MODEL, "messages": CAPITAL, "max_tokens": 32}
GREEDY = {**ASKED, "extra_body": {"temperature": 0}}


@check
def models():
    assert MODEL in [model.id for model in client.models.list()]
    assert client.models.retrieve(MODEL).id == MODEL
    with raises(anthropic.NotFoundError):
        client.models.retrieve("claude-9")


@check
def messages():
    message = client.messages.create(**GREEDY, system="Answer in one sentence.")
    (block,) = message.content
    assert message.role == "assistant" and message.stop_reason == "end_turn"
    assert block.type == "text" and "Paris" in block.text
    assert message.usage.input_tokens + message.usage.cache_read_input_tokens > 20
    assert 5 <= message.usage.output_tokens <= 32


@check
def stream():
    whole = client.messages.create(**GREEDY)
    with client.messages.stream(**GREEDY) as events:
        text = "".join(events.text_stream)
        message = events.get_final_message()
    assert text == whole.content[0].text == message.content[0].text and "Paris" in text
    assert message.usage.output_tokens == whole.usage.output_tokens


@check
async def asynchronous():
    async with anthropic.AsyncAnthropic(base_url=URL, api_key=KEY, max_retries=0) as other:
        message = await other.messages.create(**GREEDY)
    assert "Paris" in message.content[0].text


@check
def limits_and_stop_sequences():
    assert client.messages.create(**{**GREEDY, "max_tokens": 2}).stop_reason == "max_tokens"
    stopped = client.messages.create(**GREEDY, stop_sequences=["Paris"])
    assert (stopped.stop_reason, stopped.stop_sequence) == ("stop_sequence", "Paris")


@check
def tools():
    tool = {"name": "get_weather", "description": "The weather in a city", "input_schema": WEATHER}
    asked = {**GREEDY, "max_tokens": 128, "tools": [tool]}
    choice = {"type": "tool", "name": "get_weather"}
    message = client.messages.create(**asked, tool_choice=choice)
    (call,) = [block for block in message.content if block.type == "tool_use"]
    assert message.stop_reason == "tool_use" and call.name == "get_weather"
    is_weather(call.input)
    with client.messages.stream(**asked, tool_choice=choice) as events:
        (again,) = [block for block in events.get_final_message().content if block.type == "tool_use"]
    assert again.input == call.input
    result = {"type": "tool_result", "tool_use_id": call.id, "content": "rain"}
    spoken = [{"role": "assistant", "content": message.content}, {"role": "user", "content": [result]}]
    assert client.messages.create(**{**asked, "messages": [*CAPITAL, *spoken]}).content


@check
def count_tokens():
    counted = client.messages.count_tokens(model=MODEL, messages=CAPITAL).input_tokens
    usage = client.messages.create(**GREEDY).usage
    assert counted == usage.input_tokens + usage.cache_read_input_tokens


@check
def errors():
    with raises(anthropic.NotFoundError):
        client.messages.create(**{**ASKED, "model": "claude-9"})
    with raises(anthropic.BadRequestError):
        client.messages.create(**{**ASKED, "messages": []})
    with raises(anthropic.BadRequestError):
        client.messages.create(**ASKED, extra_body={"temperature": 3})
    with raises(anthropic.AuthenticationError):
        anthropic.Anthropic(base_url=URL, api_key="wrong").messages.create(**ASKED)


@check
def retries():
    with busy():
        limited = client.with_options(api_key=LIMITED_KEY)
        with raises(anthropic.RateLimitError):
            limited.messages.create(**GREEDY)
        message = limited.with_options(max_retries=5).messages.create(**GREEDY)
    assert "Paris" in message.content[0].text


@check
def leaving():
    story = [{"role": "user", "content": "Write a long story about a river. " * 3}]
    with abandoned(), client.messages.stream(**{**ASKED, "messages": story, "max_tokens": LONG}) as events:
        next(iter(events.text_stream))


main()
