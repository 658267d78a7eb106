"""`POST /v1/responses`: OpenAI's Responses API, as far as it is about text and functions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from redline.errors import RequestError
from redline.protocol.chat import MAX_MESSAGES, ChatRequest, ReasoningEffort
from redline.protocol.generation import Penalty
from redline.protocol.responses_items import InputCall, InputItem, InputResult, item_turns
from redline.protocol.responses_tools import FunctionChoice, FunctionTool
from redline.protocol.tools import MAX_TOOLS, different_names
from redline.protocol.turns import Turn, text_turn, turns
from redline.protocol.wire import RequestModel, invalid, show

MAX_METADATA = 16

InputItems = Annotated[list[InputItem], Field(min_length=1, max_length=MAX_MESSAGES - 1)]


class TextFormat(RequestModel):
    """The form of the answer; a schema is kept to, `strict` or not."""

    type: Literal["text", "json_object", "json_schema"]
    name: str | None = None
    description: str | None = None
    schema_: Annotated[dict[str, Any] | None, Field(alias="schema")] = None
    strict: bool | None = None

    @model_validator(mode="after")
    def _complete(self) -> TextFormat:
        if self.type == "json_schema" and self.schema_ is None:
            raise invalid("missing", "", "schema")
        return self

    def for_chat(self) -> dict[str, Any]:
        """The `response_format` that says the same."""
        if self.schema_ is None:
            return {"type": self.type}
        return {"type": self.type, "json_schema": {"name": self.name, "schema": self.schema_}}


class TextConfig(RequestModel):
    """How the answer is to be written."""

    unsupported: ClassVar[Mapping[str, tuple[object, ...]]] = {"verbosity": ("medium",)}

    format: TextFormat = TextFormat(type="text")


class ReasoningConfig(RequestModel):
    """How much the model thinks, if its chat template knows of that. Nobody here writes summaries of it."""

    unsupported: ClassVar[Mapping[str, tuple[object, ...]]] = {
        "generate_summary": ("auto",),
        "summary": ("auto",),
        "mode": ("standard",),
    }

    effort: ReasoningEffort | None = None


class ResponsesPrompt(RequestModel):
    """What the model is shown: a question, with the conversation before it or the id of the response that it
    follows. As it is, the request of input_tokens."""

    ignored: ClassVar[frozenset[str]] = frozenset({"personality"})
    unsupported: ClassVar[Mapping[str, tuple[object, ...]]] = {
        "conversation": (),
        "prompt": (),
        "truncation": ("disabled",),
    }

    model: Annotated[str, Field(min_length=1)]
    input: InputItems
    instructions: str | None = None
    previous_response_id: Annotated[str, Field(min_length=1, max_length=256)] | None = None
    tools: Annotated[list[FunctionTool], Field(max_length=MAX_TOOLS)] = []
    tool_choice: FunctionChoice = "auto"
    parallel_tool_calls: bool = True
    reasoning: ReasoningConfig = ReasoningConfig()
    text: TextConfig = TextConfig()

    @field_validator("input", mode="before", json_schema_input_type=str | InputItems)
    @classmethod
    def _items(cls, value: object) -> object:
        return [{"role": "user", "content": value}] if isinstance(value, str) else value

    @field_validator("tools")
    @classmethod
    def _names_differ(cls, tools: list[FunctionTool]) -> list[FunctionTool]:
        different_names([tool.name for tool in tools])
        return tools

    def chat_fields(self, turns_before: list[Turn]) -> dict[str, Any]:
        """What it is as a chat completion, behind `turns_before`; the instructions come first.

        Raises RequestError when a result answers no call.
        """
        self._check_order(turns_before)
        choice = self.tool_choice
        system = [] if self.instructions is None else [text_turn("system", [self.instructions])]
        return {
            "model": self.model,
            "messages": system + turns([*turns_before, *item_turns(self.input)]),
            "tools": [tool.for_chat() for tool in self.tools],
            "tool_choice": choice if isinstance(choice, str) else choice.for_chat(),
            "parallel_tool_calls": self.parallel_tool_calls,
            "reasoning_effort": self.reasoning.effort,
            "response_format": self.text.format.for_chat(),
        }

    def _check_order(self, turns_before: list[Turn]) -> None:
        called = {call["id"] for turn in turns_before for call in turn.get("tool_calls", ())}
        for place, item in enumerate(self.input):
            if isinstance(item, InputCall):
                called.add(item.call_id)
            elif isinstance(item, InputResult) and item.call_id not in called:
                name = f"input[{place}].call_id"
                advice = "it should be the id of a function_call before it"
                raise RequestError(f"{name} is {show(item.call_id)}; {advice}", param=name)


class ResponsesRequest(ResponsesPrompt):
    """A question, and how it is to be answered."""

    ignored: ClassVar[frozenset[str]] = ResponsesPrompt.ignored | {
        "client_metadata",
        "prompt_cache_options",
        "prompt_cache_retention",
        "user",
    }
    unsupported: ClassVar[Mapping[str, tuple[object, ...]]] = {
        **ResponsesPrompt.unsupported,
        "background": (False,),
        "context_management": ([],),
        "include": ([], ["reasoning.encrypted_content"]),  # the reasoning is there, and in plain text
        "max_tool_calls": (),
        "moderation": (),
        "service_tier": ("auto", "default"),
        "stream_options": ({}, {"include_obfuscation": False}),
        "top_logprobs": (0,),
    }

    max_output_tokens: Annotated[int, Field(ge=1, lt=2**31)] | None = None
    metadata: Annotated[
        dict[Annotated[str, Field(max_length=64)], Annotated[str, Field(max_length=512)]],
        Field(max_length=MAX_METADATA),
    ] = {}
    store: bool = True
    stream: bool = False
    presence_penalty: Penalty = 0.0  # the penalties are the Open Responses specification's
    frequency_penalty: Penalty = 0.0
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] = 1.0
    top_p: Annotated[float, Field(ge=0, le=1)] = 1.0


class ResponsesChat(ChatRequest):
    """The chat completion that answers a request of this API. `turns`: all of it but the instructions.

    `owner`: the name of the key that asked, and alone may read what is stored.
    """

    owner: str
    asked: ResponsesRequest
    turns: list[dict[str, Any]]
