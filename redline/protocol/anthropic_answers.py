"""What the Messages API of Anthropic answers: messages, events, errors."""

from __future__ import annotations

from typing import Any, Literal

from redline.protocol.wire import ResponseModel, WholeModel

StopReason = Literal["end_turn", "max_tokens", "stop_sequence", "tool_use", "refusal"]


class TokenCount(ResponseModel):
    """The answer of count_tokens."""

    input_tokens: int


class ThinkingTokens(WholeModel):
    """How many tokens of the output were reasoning."""

    thinking_tokens: int


class MessagesUsage(WholeModel):
    """Token counts. `input_tokens` are those of the prompt that were not found in the cache."""

    input_tokens: int
    cache_creation: None = None
    cache_creation_input_tokens: int = 0
    cache_read_input_tokens: int = 0
    output_tokens: int
    output_tokens_details: ThinkingTokens
    inference_geo: None = None
    server_tool_use: None = None
    service_tier: Literal["standard"] = "standard"


class TextContent(WholeModel):
    """A block of text in an answer."""

    type: Literal["text"] = "text"
    text: str
    citations: None = None


class ThinkingContent(WholeModel):
    """What the model thought before it answered. Nothing here is signed."""

    type: Literal["thinking"] = "thinking"
    thinking: str
    signature: str = ""


class DirectCaller(WholeModel):
    """The model itself, no program of its own."""

    type: Literal["direct"] = "direct"


class ToolUseContent(WholeModel):
    """A call of a tool. `input` is empty where a stream begins it."""

    type: Literal["tool_use"] = "tool_use"
    id: str
    caller: DirectCaller = DirectCaller()
    name: str
    input: dict[str, Any] = {}


ContentBlock = TextContent | ThinkingContent | ToolUseContent


class Message(WholeModel):
    """The whole answer, or the empty one that a stream begins with."""

    id: str
    type: Literal["message"] = "message"
    role: Literal["assistant"] = "assistant"
    model: str
    content: list[ContentBlock] = []
    stop_reason: StopReason | None = None
    stop_sequence: str | None = None
    stop_details: None = None
    container: None = None
    usage: MessagesUsage


class MessageStart(WholeModel):
    """The first event."""

    type: Literal["message_start"] = "message_start"
    message: Message


class BlockStart(WholeModel):
    """A block begins; `index` is its place in the content."""

    type: Literal["content_block_start"] = "content_block_start"
    index: int
    content_block: ContentBlock


class TextDelta(WholeModel):
    """More text."""

    type: Literal["text_delta"] = "text_delta"
    text: str


class ThinkingDelta(WholeModel):
    """More of what the model thinks."""

    type: Literal["thinking_delta"] = "thinking_delta"
    thinking: str


class InputJSONDelta(WholeModel):
    """More of the JSON text of a call's input."""

    type: Literal["input_json_delta"] = "input_json_delta"
    partial_json: str


class BlockDelta(WholeModel):
    """A block grows."""

    type: Literal["content_block_delta"] = "content_block_delta"
    index: int
    delta: TextDelta | ThinkingDelta | InputJSONDelta


class BlockStop(WholeModel):
    """A block is complete."""

    type: Literal["content_block_stop"] = "content_block_stop"
    index: int


class MessageEnding(WholeModel):
    """Why the answer ended."""

    stop_reason: StopReason
    stop_sequence: str | None = None


class MessageDelta(WholeModel):
    """The answer is complete. The counts are those of all of it and replace those of the first event."""

    type: Literal["message_delta"] = "message_delta"
    delta: MessageEnding
    usage: MessagesUsage


class MessageStop(WholeModel):
    """The last event."""

    type: Literal["message_stop"] = "message_stop"


class MessagesError(WholeModel):
    """What went wrong, for programs (`type`) and for people."""

    type: str
    message: str


class MessagesErrorBody(WholeModel):
    """The body of every answer that is not a success, and the event that ends a stream early."""

    type: Literal["error"] = "error"
    error: MessagesError
    request_id: str | None = None


_ERROR_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    408: "timeout_error",
    413: "request_too_large",
    429: "rate_limit_error",
    504: "timeout_error",
    529: "overloaded_error",
}


def error_type(status: int) -> str:
    """What the Messages API calls a failure with this status."""
    return _ERROR_TYPES.get(status, "api_error" if status >= 500 else "invalid_request_error")
