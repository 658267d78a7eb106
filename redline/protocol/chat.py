"""`POST /v1/chat/completions`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from redline.protocol.generation import GenerationRequest
from redline.protocol.usage import Usage
from redline.protocol.wire import RequestModel, ResponseModel, invalid

MAX_MESSAGES = 4096


class ChatMessage(RequestModel):
    """One turn of a conversation. Content given as a list of text parts is joined by line breaks."""

    ignored: ClassVar[frozenset[str]] = frozenset({"name", "refusal", "annotations"})
    unsupported: ClassVar[Mapping[str, tuple[object, ...]]] = {
        "tool_calls": ([],),
        "function_call": (),
        "audio": (),
    }

    role: Literal["system", "developer", "user", "assistant"]
    content: str

    @field_validator("content", mode="before")
    @classmethod
    def _join_parts(cls, value: object) -> object:
        if not isinstance(value, list):
            return value
        return "\n".join(_text_of(part) for part in value)

    def for_template(self) -> dict[str, Any]:
        """The message as chat templates know it: `developer` is OpenAI's newer name of `system`."""
        return {"role": "system" if self.role == "developer" else self.role, "content": self.content}


def _text_of(part: object) -> str:
    if not isinstance(part, dict):
        raise invalid("content", "each part should be an object")
    if part.get("type") != "text":
        raise invalid("content", "only parts of type 'text' are supported")
    text = part.get("text")
    if not isinstance(text, str):
        raise invalid("content", "a text part needs a string in 'text'")
    return text


class ChatRequest(GenerationRequest):
    """`max_tokens` is the older name of `max_completion_tokens`; `top_logprobs` needs `logprobs`."""

    unsupported: ClassVar[Mapping[str, tuple[object, ...]]] = {
        **GenerationRequest.unsupported,
        "tools": ([],),
        "tool_choice": ("none", "auto"),
        "parallel_tool_calls": (True,),
        "functions": ([],),
        "function_call": ("none", "auto"),
        "reasoning_effort": (),
        "verbosity": ("medium",),
        "prediction": (),
        "modalities": (["text"],),
        "audio": (),
        "web_search_options": (),
        "best_of": (1,),
        "echo": (False,),
        "add_generation_prompt": (True,),
        "continue_final_message": (False,),
        "add_special_tokens": (False,),
        "chat_template": (),
        "chat_template_kwargs": ({},),
        "documents": ([],),
    }

    messages: Annotated[list[ChatMessage], Field(min_length=1, max_length=MAX_MESSAGES)]
    max_completion_tokens: Annotated[int, Field(ge=1, lt=2**31)] | None = None
    logprobs: bool = False
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None

    @model_validator(mode="after")
    def _agree(self) -> ChatRequest:
        if self.top_logprobs is not None and not self.logprobs:
            data = {"top_logprobs": self.top_logprobs}
            raise invalid("logprobs", "it is only allowed when logprobs is true", "top_logprobs", data)
        if None not in (limits := {self.max_tokens, self.max_completion_tokens}) and len(limits) > 1:
            advice = f"max_completion_tokens is {self.max_completion_tokens}; send one of them"
            raise invalid("limits", advice, "max_tokens", {"max_tokens": self.max_tokens})
        return self

    @property
    def token_limit(self) -> int | None:
        """Tokens the answer may have; None: until the context is full."""
        return self.max_completion_tokens if self.max_tokens is None else self.max_tokens


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
    """The answer."""

    role: Literal["assistant"] = "assistant"
    content: str | None = None
    refusal: str | None = None


class ChatChoice(ResponseModel):
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


class ChatDelta(ResponseModel):
    """What a chunk adds to its choice."""

    role: str | None = None
    content: str | None = None


class ChatChunkChoice(ResponseModel):
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
