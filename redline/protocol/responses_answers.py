"""What the Responses API answers: responses, their items, and the events that tell of them."""

from __future__ import annotations

from typing import Any, Literal

from redline.protocol.wire import WholeModel

Status = Literal["in_progress", "completed", "incomplete"]


class OutputText(WholeModel):
    """The text of an answer."""

    type: Literal["output_text"] = "output_text"
    text: str = ""
    annotations: list[None] = []
    logprobs: list[None] = []


class ReasoningText(WholeModel):
    """What the model thought, in its own words."""

    type: Literal["reasoning_text"] = "reasoning_text"
    text: str = ""


class OutputReasoning(WholeModel):
    """What the model thought before it answered."""

    type: Literal["reasoning"] = "reasoning"
    id: str
    status: Status
    summary: list[None] = []
    content: list[ReasoningText] = []


class OutputCall(WholeModel):
    """A call of a function; `arguments` is JSON text as the model wrote it."""

    type: Literal["function_call"] = "function_call"
    id: str
    status: Status
    call_id: str
    name: str
    arguments: str = ""


class OutputMessage(WholeModel):
    """An answer."""

    type: Literal["message"] = "message"
    id: str
    status: Status
    role: Literal["assistant"] = "assistant"
    content: list[OutputText] = []


OutputItem = OutputMessage | OutputReasoning | OutputCall


class InputTokensDetails(WholeModel):
    """Where the tokens of the input came from."""

    cached_tokens: int
    cache_write_tokens: int = 0


class OutputTokensDetails(WholeModel):
    """What the tokens of the output were spent on."""

    reasoning_tokens: int


class ResponsesUsage(WholeModel):
    """Token counts."""

    input_tokens: int
    input_tokens_details: InputTokensDetails
    output_tokens: int
    output_tokens_details: OutputTokensDetails
    total_tokens: int


class IncompleteDetails(WholeModel):
    """Why an answer is cut."""

    reason: Literal["max_output_tokens", "content_filter"]


class ResponseObject(WholeModel):
    """A response, whole or on its way: what was asked, and what came of it so far."""

    id: str
    object: Literal["response"] = "response"
    created_at: int
    completed_at: int | None = None
    status: Status
    error: None = None
    incomplete_details: IncompleteDetails | None = None
    model: str
    output: list[OutputItem] = []
    usage: ResponsesUsage | None = None
    instructions: str | None
    previous_response_id: str | None
    max_output_tokens: int | None
    metadata: dict[str, str]
    store: bool
    temperature: float
    top_p: float
    presence_penalty: float
    frequency_penalty: float
    safety_identifier: str | None
    prompt_cache_key: str | None
    background: bool = False
    max_tool_calls: None = None
    parallel_tool_calls: bool
    reasoning: dict[str, str | None]
    service_tier: str = "default"
    text: dict[str, Any]
    tool_choice: str | dict[str, Any]
    tools: list[dict[str, Any]]
    top_logprobs: int = 0
    truncation: str = "disabled"


class InputItems(WholeModel):
    """A page of the items that a response answers."""

    object: Literal["list"] = "list"
    data: list[dict[str, Any]]
    first_id: str | None
    last_id: str | None
    has_more: bool


class InputTokenCount(WholeModel):
    """How many tokens a question has."""

    object: Literal["response.input_tokens"] = "response.input_tokens"
    input_tokens: int


class DeletedResponse(WholeModel):
    """A response that is no longer kept."""

    id: str
    object: Literal["response"] = "response"
    deleted: bool = True


class ResponsesEvent(WholeModel):
    """An event of a stream; they are numbered as they are sent."""

    type: str
    sequence_number: int = 0


class ResponseEvent(ResponsesEvent):
    """The response as it is now."""

    response: ResponseObject


class ItemEvent(ResponsesEvent):
    """An item of the output begins or ends."""

    output_index: int
    item: OutputItem


class PartEvent(ResponsesEvent):
    """A part of an item begins or ends."""

    item_id: str
    output_index: int
    content_index: int = 0
    part: OutputText | ReasoningText


class TextDeltaEvent(ResponsesEvent):
    """More text of a part."""

    item_id: str
    output_index: int
    content_index: int = 0
    delta: str
    logprobs: list[None] = []


class TextDoneEvent(ResponsesEvent):
    """All text of a part."""

    item_id: str
    output_index: int
    content_index: int = 0
    text: str
    logprobs: list[None] = []


class ReasoningDeltaEvent(ResponsesEvent):
    """More of what the model thinks."""

    item_id: str
    output_index: int
    content_index: int = 0
    delta: str


class ReasoningDoneEvent(ResponsesEvent):
    """All of what the model thought."""

    item_id: str
    output_index: int
    content_index: int = 0
    text: str


class ArgumentsDeltaEvent(ResponsesEvent):
    """More of the arguments of a call."""

    item_id: str
    output_index: int
    delta: str


class ArgumentsDoneEvent(ResponsesEvent):
    """All arguments of a call."""

    item_id: str
    output_index: int
    name: str
    arguments: str


class ErrorEvent(ResponsesEvent):
    """Why a stream ends early."""

    code: str | None
    message: str
    param: str | None
