"""pydantic-ai."""

from typing import Literal

from checks import CAPITAL, KEY, MODEL, URL, V1, check, main, raises
from pydantic import BaseModel, Field
from pydantic_ai import Agent, ModelHTTPError, NativeOutput, ToolOutput
from pydantic_ai.models.anthropic import AnthropicModel
from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
from pydantic_ai.providers.anthropic import AnthropicProvider
from pydantic_ai.providers.openai import OpenAIProvider

QUESTION = CAPITAL[0]["content"]
SETTINGS = {"temperature": 0, "max_tokens": 128}
provider = OpenAIProvider(base_url=V1, api_key=KEY)
chat_model = OpenAIChatModel(MODEL, provider=provider)


class City(BaseModel):
    """A city."""

    name: str = Field(max_length=30)
    size: Literal["small", "large"]


@check
def text():
    result = Agent(chat_model, instructions="Answer in one sentence.", model_settings=SETTINGS).run_sync(
        QUESTION
    )
    assert "Paris" in result.output and result.usage.output_tokens > 3


@check
async def stream():
    agent = Agent(chat_model, model_settings=SETTINGS)
    async with agent.run_stream(QUESTION) as result:
        text = "".join([piece async for piece in result.stream_text(delta=True)])
    assert "Paris" in text


@check
def structured_output():
    for form in (ToolOutput(City), NativeOutput(City)):
        result = Agent(chat_model, output_type=form, model_settings=SETTINGS).run_sync(QUESTION)
        assert result.output.name and result.output.size in ("small", "large"), form


@check
def responses():
    model = OpenAIResponsesModel(MODEL, provider=provider)
    assert "Paris" in Agent(model, model_settings=SETTINGS).run_sync(QUESTION).output


@check
def messages():
    model = AnthropicModel(MODEL, provider=AnthropicProvider(base_url=URL, api_key=KEY))
    assert "Paris" in Agent(model, model_settings=SETTINGS).run_sync(QUESTION).output


@check
def errors():
    with raises(ModelHTTPError, status_code=404):
        Agent(OpenAIChatModel("gpt-7", provider=provider)).run_sync(QUESTION)
    with raises(ModelHTTPError, status_code=400):
        Agent(chat_model, model_settings={"temperature": 3}).run_sync(QUESTION)


main()
