"""`POST /v1/messages` and `/v1/messages/count_tokens`: the Messages API of Anthropic."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from redline.protocol.anthropic_blocks import (
    ALLOWED,
    Block,
    TextBlock,
    ToolResultBlock,
    ToolUseBlock,
    as_blocks,
    block_turns,
)
from redline.protocol.anthropic_tools import MessagesTool, MessagesToolChoice
from redline.protocol.chat import MAX_MESSAGES
from redline.protocol.generation import MAX_STOP_CHARS
from redline.protocol.tools import MAX_TOOLS, different_names
from redline.protocol.turns import turns
from redline.protocol.wire import RequestModel, invalid

MAX_STOP_SEQUENCES = 1024
_ANY = {"tool_choice.type": "any"}
# Nothing is taken away here anyway.
_KEEP_ALL = {"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]}

NonEmptyText = Annotated[str, Field(min_length=1)]
Blocks = Annotated[list[Block], Field(min_length=1)]


class TurnMessage(RequestModel):
    """One turn, or a part of it: turns of one role in a row are one."""

    role: Literal["user", "assistant", "system"]
    content: Blocks

    @field_validator("content", mode="before", json_schema_input_type=NonEmptyText | Blocks)
    @classmethod
    def _blocks(cls, value: object) -> object:
        return as_blocks(value)

    @model_validator(mode="after")
    def _of_its_role(self) -> TurnMessage:
        for place, block in enumerate(self.content):
            if not isinstance(block, ALLOWED[self.role]):
                name = f"content[{place}].type"
                advice = f"a message of the {self.role} has no blocks of this type"
                raise invalid("role", advice, name, {name: block.type})
        return self


class Thinking(RequestModel):
    """Whether thoughts are shown. The model thinks as it was taught to: there is no budget for it here."""

    ignored: ClassVar[frozenset[str]] = frozenset({"display"})

    type: Literal["adaptive", "disabled", "enabled"]

    @field_validator("type")
    @classmethod
    def _without_a_budget(cls, value: str) -> str:
        if value == "enabled":
            advice = "thinking cannot be limited to budget_tokens here; send adaptive, or leave it out"
            raise invalid("unsupported", advice)
        return value


class AnswerFormat(RequestModel):
    """The answer is JSON that keeps to a schema."""

    type: Literal["json_schema"]
    schema_: Annotated[dict[str, Any], Field(alias="schema")]


class OutputConfig(RequestModel):
    """The form of the answer."""

    unsupported: ClassVar[Mapping[str, tuple[object, ...]]] = {"effort": ("high",)}

    format: AnswerFormat | None = None


class MessagesPrompt(RequestModel):
    """A conversation; as it is, the request of count_tokens."""

    ignored: ClassVar[frozenset[str]] = frozenset(
        {"cache_control", "diagnostics", "metadata", "user_profile_id", "workspace_id"}
    )
    unsupported: ClassVar[Mapping[str, tuple[object, ...]]] = {
        "container": (),
        "context_management": ({"edits": []}, _KEEP_ALL),
        "inference_geo": ("global",),
        "mcp_servers": ([],),
        "output_format": (),
        "speed": ("standard",),
    }

    model: Annotated[str, Field(min_length=1)]
    # One less than a chat may have, because the system prompt becomes one.
    messages: Annotated[list[TurnMessage], Field(min_length=1, max_length=MAX_MESSAGES - 1)]
    system: list[TextBlock] = []
    tools: Annotated[list[MessagesTool], Field(max_length=MAX_TOOLS)] = []
    tool_choice: MessagesToolChoice = MessagesToolChoice()
    thinking: Thinking | None = None
    output_config: OutputConfig = OutputConfig()

    @field_validator("system", mode="before", json_schema_input_type=str | list[TextBlock])
    @classmethod
    def _system_blocks(cls, value: object) -> object:
        return as_blocks(value) if value != "" else []

    @field_validator("tools")
    @classmethod
    def _names_differ(cls, tools: list[MessagesTool]) -> list[MessagesTool]:
        different_names([tool.name for tool in tools])
        return tools

    @model_validator(mode="after")
    def _results_follow_calls(self) -> MessagesPrompt:
        called: set[str] = set()
        for place, message in enumerate(self.messages):
            for number, block in enumerate(message.content):
                if isinstance(block, ToolUseBlock):
                    called.add(block.id)
                elif isinstance(block, ToolResultBlock) and block.tool_use_id not in called:
                    name = f"messages[{place}].content[{number}].tool_use_id"
                    advice = "it should be the id of a tool_use block before it"
                    raise invalid("order", advice, name, {name: block.tool_use_id})
        return self

    @model_validator(mode="after")
    def _chooses_what_there_is(self) -> MessagesPrompt:
        choice = self.tool_choice
        if choice.type == "any" and not self.tools:
            raise invalid("choice", "there are no tools to choose from", "tool_choice.type", _ANY)
        if choice.type == "tool" and choice.name not in {tool.name for tool in self.tools}:
            data = {"tool_choice.name": choice.name}
            raise invalid("choice", "it should be one that is offered in tools", "tool_choice.name", data)
        return self

    @model_validator(mode="after")
    def _can_go_on(self) -> MessagesPrompt:
        place = len(self.messages) - 1
        last = self.messages[place]
        if last.role == "assistant" and not isinstance(last.content[-1], TextBlock):
            name = f"messages[{place}].content[{len(last.content) - 1}].type"
            advice = "the last message can begin the answer with text alone; end with one of the user"
            raise invalid("order", advice, name, {name: last.content[-1].type})
        return self

    @property
    def begins_the_answer(self) -> bool:
        """The last message is the assistant's: the model goes on with it."""
        return self.messages[-1].role == "assistant"


class MessagesRequest(MessagesPrompt):
    """A conversation, and how it goes on."""

    unsupported: ClassVar[Mapping[str, tuple[object, ...]]] = {
        **MessagesPrompt.unsupported,
        "service_tier": ("auto", "standard_only"),
    }

    max_tokens: Annotated[int, Field(ge=1, lt=2**31)]
    stop_sequences: Annotated[
        list[Annotated[str, Field(min_length=1, max_length=MAX_STOP_CHARS)]],
        Field(max_length=MAX_STOP_SEQUENCES),
    ] = []
    stream: bool = False
    temperature: Annotated[float, Field(ge=0, le=1)] = 1.0
    top_k: Annotated[int, Field(ge=0, lt=2**31)] = 0
    top_p: Annotated[float, Field(ge=0, le=1)] = 1.0


def chat_fields(prompt: MessagesPrompt) -> dict[str, Any]:
    """What a conversation is as a chat completion."""
    spoken: list[tuple[str, list[Block]]] = [("system", list(prompt.system))]
    spoken += [(message.role, message.content) for message in prompt.messages]
    fields: dict[str, Any] = {
        "model": prompt.model,
        "messages": turns(turn for role, blocks in spoken for turn in block_turns(role, blocks)),
        "tools": [tool.for_chat() for tool in prompt.tools],
        "include_reasoning": prompt.thinking is not None and prompt.thinking.type == "adaptive",
        "add_generation_prompt": not prompt.begins_the_answer,
        "continue_final_message": prompt.begins_the_answer,
        **prompt.tool_choice.for_chat(),
    }
    if prompt.output_config.format is not None:
        schema = {"schema": prompt.output_config.format.schema_}
        fields["response_format"] = {"type": "json_schema", "json_schema": schema}
    return fields
