"""The lines of batch files: requests in, results out, as OpenAI's Batch API has them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from redline.protocol.wire import RequestModel, WholeModel, invalid

URL = Literal["/v1/chat/completions", "/v1/completions", "/v1/embeddings", "/v1/responses", "/v1/messages"]
CustomId = Annotated[str, Field(min_length=1, max_length=1024)]


class BatchLine(RequestModel):
    """One request. `custom_id` is what its result is known by; a result is never a stream."""

    custom_id: CustomId
    method: Literal["POST"] = "POST"
    url: URL
    body: dict[str, Any]

    @model_validator(mode="after")
    def _whole(self) -> BatchLine:
        if self.body.get("stream") not in (None, False):
            raise invalid(
                "stream", "results are no streams; leave it out", "body.stream", {"body.stream": True}
            )
        return self


class BatchResponse(WholeModel):
    """What the server would have answered."""

    status_code: int
    request_id: str
    body: Any


class BatchError(WholeModel):
    """Why a line was not asked: `line` is its number, from 1 on."""

    code: str
    message: str
    param: str | None = None
    line: int


class BatchResult(WholeModel):
    """The result of one line: a response, of whatever status, or an error."""

    id: str
    custom_id: str | None
    response: BatchResponse | None = None
    error: BatchError | None = None

    @property
    def failed(self) -> bool:
        """True when there is no answer."""
        return self.response is None or self.response.status_code != 200
