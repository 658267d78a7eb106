"""`POST /v1/chat/completions`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import ConfigDict, Field, field_validator, model_validator

from redline.protocol.forced_calls import MOST_CALLS, calls_schema
from redline.protocol.generation import Count, GenerationRequest, ScoredChoice
from redline.protocol.messages import ChatMessage, check_order
from redline.protocol.prompt_logprobs import PromptLogprobs
from redline.protocol.structured import Form
from redline.protocol.tools import (
    MAX_TOOLS,
    AllowedChoice,
    AllowedTools,
    NamedTool,
    Tool,
    ToolCall,
    ToolCallDelta,
    ToolChoice,
    different_names,
)
from redline.protocol.usage import Usage
from redline.protocol.wire import RequestModel, ResponseModel, invalid

MAX_MESSAGES = 4096
MAX_DOCUMENTS = 1024

ReasoningEffort = Literal["none", "minimal", "low", "medium", "high", "xhigh"]


class TemplateOptions(RequestModel):
    """What a request may tell the chat template; a template that does not read it refuses the request."""

    model_config = ConfigDict(json_schema_extra={"additionalProperties": False})

    enable_thinking: bool | None = None  # Qwen 3, SmolLM 3
    thinking: bool | None = None  # DeepSeek 3.1, Granite

    @model_validator(mode="before")
    @classmethod
    def _known_names(cls, data: Any) -> Any:
        if isinstance(data, dict):
            for name in data.keys() - cls.model_fields.keys():
                accepted = ", ".join(cls.model_fields)
                raise invalid("unsupported", f"accepted are {accepted}; leave it out", name, data)
        return data


class ChatRequest(GenerationRequest):
    """`max_tokens` is the older name of `max_completion_tokens`; `top_logprobs` needs `logprobs`."""

    unsupported: ClassVar[Mapping[str, tuple[object, ...]]] = {
        **GenerationRequest.unsupported,
        "functions": ([],),
        "function_call": ("none", "auto"),
        "verbosity": ("medium",),
        "prediction": (),
        "modalities": (["text"],),
        "audio": (),
        "web_search_options": (),
        "echo": (False,),
        "add_special_tokens": (False,),
        "chat_template": (),
    }

    messages: Annotated[list[ChatMessage], Field(min_length=1, max_length=MAX_MESSAGES)]
    max_completion_tokens: Count | None = None
    tools: Annotated[list[Tool], Field(max_length=MAX_TOOLS)] = []
    tool_choice: ToolChoice = "auto"
    parallel_tool_calls: bool = True
    include_reasoning: bool = True
    reasoning_effort: ReasoningEffort | None = None
    chat_template_kwargs: TemplateOptions = TemplateOptions()
    add_generation_prompt: bool = True
    continue_final_message: bool = False
    documents: Annotated[list[dict[str, Any]], Field(max_length=MAX_DOCUMENTS)] = []
    logprobs: bool = False
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None

    @field_validator("tools")
    @classmethod
    def _different_names(cls, tools: list[Tool]) -> list[Tool]:
        different_names([tool.function.name for tool in tools])
        return tools

    @model_validator(mode="after")
    def _agree(self) -> ChatRequest:
        check_order(self.messages)
        self._check_choice()
        self._check_end()
        if self.top_logprobs and not self.logprobs:  # 0 asks for nothing
            data = {"top_logprobs": self.top_logprobs}
            raise invalid("logprobs", "it is only allowed when logprobs is true", "top_logprobs", data)
        if None not in (limits := {self.max_tokens, self.max_completion_tokens}) and len(limits) > 1:
            advice = f"max_completion_tokens is {self.max_completion_tokens}; send one of them"
            raise invalid("limits", advice, "max_tokens", {"max_tokens": self.max_tokens})
        if self.token_limit == 0 and self.prompt_logprobs is None:
            name = "max_completion_tokens" if self.max_tokens is None else "max_tokens"
            advice = "it should be at least 1, or prompt_logprobs be asked for"
            raise invalid("limits", advice, name, {name: 0})
        return self

    @property
    def offered_tools(self) -> list[Tool]:
        """The tools that the model may call, and is shown: none with `tool_choice` "none"."""
        if isinstance(self.tool_choice, AllowedChoice):
            allowed = {tool.function.name for tool in self.tool_choice.allowed_tools.tools}
            return [tool for tool in self.tools if tool.function.name in allowed]
        return [] if self.tool_choice == "none" else self.tools

    @property
    def forced_tools(self) -> list[Tool]:
        """Those of which the answer has to call one: all with "required", or the one that is named."""
        match self.tool_choice:
            case NamedTool(function=function):
                return [tool for tool in self.tools if tool.function.name == function.name]
            case AllowedChoice(allowed_tools=AllowedTools(mode="required")) | "required":
                return self.offered_tools
        return []

    def _check_end(self) -> None:
        if not self.continue_final_message:
            return
        last = self.messages[-1]
        if last.role != "assistant" or not last.content or last.tool_calls:
            name = f"messages[{len(self.messages) - 1}]"
            advice = (
                "continue_final_message goes on with a message of the assistant that has content, no calls"
            )
            raise invalid("order", advice, name, {name: last.role})
        if self.add_generation_prompt:
            advice = "it contradicts continue_final_message; send false"
            raise invalid("order", advice, "add_generation_prompt", {"add_generation_prompt": True})

    def _check_choice(self) -> None:
        match self.tool_choice:
            case "required":
                wanted, there = 1, len(self.tools)
            case NamedTool():
                wanted, there = 1, len(self.forced_tools)
            case AllowedChoice(allowed_tools=allowed):
                wanted, there = len(allowed.tools), len(self.offered_tools)
            case _:
                return
        if there < wanted:
            advice = "it should be one that is offered in tools"
            raise invalid("choice", advice, "tool_choice", {"tool_choice": self.tool_choice})

    def _forms(self) -> list[Form]:
        if not self.forced_tools:
            return super()._forms()
        several = self.parallel_tool_calls and not isinstance(self.tool_choice, NamedTool)
        schema = calls_schema(self.forced_tools, MOST_CALLS if several else 1)
        return [Form("tool_choice", {"json": schema}), *super()._forms()]

    @property
    def template_variables(self) -> dict[str, Any]:
        """What the request tells the chat template besides messages and tools."""
        variables = self.chat_template_kwargs.model_dump(exclude_none=True)
        if self.reasoning_effort is not None:
            variables["reasoning_effort"] = self.reasoning_effort
        if self.documents:
            variables["documents"] = self.documents
        return variables

    @property
    def token_limit(self) -> int | None:
        """Tokens the answer may have; None: until the context is full."""
        return self.max_completion_tokens if self.max_tokens is None else self.max_tokens


class RenderedChat(ResponseModel):
    """A conversation as text, control tokens included."""

    prompt: str


class TopLogprob(ResponseModel):
    """A token that could have been chosen."""

    token: str
    logprob: float
    bytes: list[int] | None = None


class ChatLogprob(TopLogprob):
    """The token that was chosen, and the likeliest ones in its place."""

    top_logprobs: list[TopLogprob] = []


class ChatLogprobs(ResponseModel):
    """Log-probabilities of the tokens of one choice or chunk."""

    content: list[ChatLogprob] | None = None
    refusal: list[ChatLogprob] | None = None


class AssistantMessage(ResponseModel):
    """The answer. Reasoning goes by two names: that of vLLM and OpenRouter, and that of DeepSeek."""

    role: Literal["assistant"] = "assistant"
    content: str | None = None
    refusal: str | None = None
    reasoning: str | None = None
    reasoning_content: str | None = None
    tool_calls: list[ToolCall] | None = None


class ChatChoice(ScoredChoice):
    """One of `n` answers."""

    index: int = 0
    message: AssistantMessage
    logprobs: ChatLogprobs | None = None
    finish_reason: str | None = None
    stop_reason: str | int | None = None
    token_ids: list[int] | None = None


class ChatResponse(ResponseModel):
    """The whole answer."""

    id: str = ""
    object: Literal["chat.completion"] = "chat.completion"
    created: int = 0
    model: str = ""
    choices: list[ChatChoice]
    usage: Usage | None = None
    prompt_token_ids: list[int] | None = None
    prompt_logprobs: PromptLogprobs | None = None


class ChatDelta(ResponseModel):
    """What a chunk adds to its choice."""

    role: str | None = None
    content: str | None = None
    reasoning: str | None = None
    reasoning_content: str | None = None
    tool_calls: list[ToolCallDelta] | None = None


class ChatChunkChoice(ScoredChoice):
    """One choice's part of a chunk."""

    index: int = 0
    delta: ChatDelta
    logprobs: ChatLogprobs | None = None
    finish_reason: str | None = None
    stop_reason: str | int | None = None
    token_ids: list[int] | None = None


class ChatChunk(ResponseModel):
    """One event of a stream."""

    id: str = ""
    object: Literal["chat.completion.chunk"] = "chat.completion.chunk"
    created: int = 0
    model: str = ""
    choices: list[ChatChunkChoice]
    usage: Usage | None = None
    prompt_token_ids: list[int] | None = None
    prompt_logprobs: PromptLogprobs | None = None
