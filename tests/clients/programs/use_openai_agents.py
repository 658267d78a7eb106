"""openai-agents."""

import os

os.environ["OPENAI_AGENTS_DISABLE_TRACING"] = "1"  # it sends traces to OpenAI otherwise

import openai
from agents import (
    Agent,
    ModelSettings,
    OpenAIChatCompletionsModel,
    OpenAIResponsesModel,
    Runner,
    function_tool,
)
from checks import CAPITAL, KEY, MODEL, V1, check, main, raises
from pydantic import BaseModel, ConfigDict, Field

QUESTION = CAPITAL[0]["content"]


def agent(kind=OpenAIChatCompletionsModel, model=MODEL, settings=None, **more):
    """An agent of its own client: each check has an event loop of its own."""
    client = openai.AsyncOpenAI(base_url=V1, api_key=KEY, max_retries=0)
    settings = {"temperature": 0, "max_tokens": 96, **(settings or {})}
    return Agent(
        name="a",
        model=kind(model=model, openai_client=client),
        model_settings=ModelSettings(**settings),
        **more,
    )


class City(BaseModel):
    model_config = ConfigDict(extra="forbid")
    name: str = Field(max_length=30)


@check
async def chat_completions():
    result = await Runner.run(agent(instructions="Answer in one sentence."), QUESTION)
    assert "Paris" in result.final_output
    assert result.context_wrapper.usage.output_tokens > 3


@check
async def stream():
    result = Runner.run_streamed(agent(), QUESTION)
    kinds = [event.type async for event in result.stream_events()]
    assert "raw_response_event" in kinds and "Paris" in result.final_output


@check
async def structured_output():
    result = await Runner.run(agent(output_type=City), QUESTION)
    assert isinstance(result.final_output, City)


@check
async def tool():
    called = []

    @function_tool
    def get_weather(city: str) -> str:
        """The weather in a city."""
        called.append(city)
        return "rain"

    forced = agent(tools=[get_weather], settings={"tool_choice": "get_weather"})
    forced.tool_use_behavior = "stop_on_first_tool"
    result = await Runner.run(forced, "What is the weather in Oslo?")
    assert len(called) == 1 and result.final_output == "rain"


@check
async def responses():
    assert "Paris" in (await Runner.run(agent(OpenAIResponsesModel), QUESTION)).final_output


@check
async def errors():
    with raises(openai.NotFoundError):
        await Runner.run(agent(model="gpt-7"), QUESTION)


main()
