"""instructor."""

from typing import Literal

import instructor
import openai
from checks import CAPITAL, KEY, MODEL, V1, check, main, raises
from pydantic import BaseModel, Field

plain = openai.OpenAI(base_url=V1, api_key=KEY, max_retries=0)
ASKED = {"model": MODEL, "messages": CAPITAL, "max_tokens": 128, "temperature": 0}


class City(BaseModel):
    """A city."""

    name: str = Field(max_length=30)
    size: Literal["small", "large"]


@check
def modes():
    """By a call of a tool, by JSON of any form, and by a schema."""
    for mode in (instructor.Mode.TOOLS, instructor.Mode.JSON_SCHEMA):
        client = instructor.from_openai(plain, mode=mode)
        city, answer = client.chat.completions.create_with_completion(**ASKED, response_model=City)
        assert city.name and city.size in ("small", "large"), mode
        assert answer.usage.completion_tokens > 0


@check
def partial():
    client = instructor.from_openai(plain, mode=instructor.Mode.TOOLS)
    *_, last = client.chat.completions.create_partial(**ASKED, response_model=City)
    assert last.name and last.size in ("small", "large")


@check
async def asynchronous():
    client = instructor.from_openai(openai.AsyncOpenAI(base_url=V1, api_key=KEY))
    city = await client.chat.completions.create(**ASKED, response_model=City)
    assert isinstance(city, City)


@check
def errors():
    client = instructor.from_openai(plain)
    with raises(Exception):
        client.chat.completions.create(**{**ASKED, "model": "gpt-7"}, response_model=City, max_retries=1)


main()
