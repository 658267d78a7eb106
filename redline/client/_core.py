"""All of a client but its I/O: what to send, and what the bytes that come back mean."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from pydantic import ValidationError

from redline.client.errors import APIError, BadAnswer
from redline.protocol.chat import ChatChunk, ChatResponse
from redline.protocol.completions import CompletionResponse
from redline.protocol.errors import ErrorBody, ErrorObject
from redline.protocol.models import ModelCard, ModelList
from redline.protocol.sse import DONE, SSEDecoder
from redline.protocol.wire import ResponseModel

T = TypeVar("T", bound=ResponseModel)

Messages = Sequence[Mapping[str, Any]]
Prompt = str | Sequence[str] | Sequence[int] | Sequence[Sequence[int]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Call(Generic[T]):
    """One HTTP request, and the type of its answer or of each event of it."""

    method: str
    path: str
    headers: dict[str, str]
    content: bytes
    answer: type[T]


class Core:
    """Builds calls. `model` is sent unless a call names another."""

    def __init__(
        self,
        base_url: str,
        *,
        model: str | None = None,
        api_key: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self.base_url = base_url.rstrip("/").removesuffix("/v1")
        self._model = model
        self._headers = dict(headers or {})
        if api_key is not None:
            self._headers["authorization"] = f"Bearer {api_key}"

    def chat(self, messages: Messages, options: Mapping[str, Any]) -> Call[ChatResponse]:
        """A whole chat answer."""
        return self._post("/v1/chat/completions", {"messages": messages, **options}, ChatResponse)

    def stream_chat(self, messages: Messages, options: Mapping[str, Any]) -> Call[ChatChunk]:
        """A chat answer in chunks, usage in the last."""
        body = {"messages": messages, **_STREAM, **options}
        return self._post("/v1/chat/completions", body, ChatChunk)

    def complete(self, prompt: Prompt, options: Mapping[str, Any]) -> Call[CompletionResponse]:
        """A whole completion."""
        return self._post("/v1/completions", {"prompt": prompt, **options}, CompletionResponse)

    def stream_complete(self, prompt: Prompt, options: Mapping[str, Any]) -> Call[CompletionResponse]:
        """A completion in chunks, usage in the last."""
        return self._post("/v1/completions", {"prompt": prompt, **_STREAM, **options}, CompletionResponse)

    def models(self) -> Call[ModelList]:
        """What the server has."""
        return self._get("/v1/models", ModelList)

    def health(self) -> Call[ResponseModel]:
        """Whether it can serve."""
        return self._get("/health", ResponseModel)

    def _get(self, path: str, answer: type[T]) -> Call[T]:
        return Call(method="GET", path=path, headers=dict(self._headers), content=b"", answer=answer)

    def _post(self, path: str, body: Mapping[str, Any], answer: type[T]) -> Call[T]:
        """Options named `extra_headers` are headers; the others are members of the body."""
        members = {name: value for name, value in body.items() if name != "extra_headers"}
        if self._model is not None:
            members.setdefault("model", self._model)
        headers = {**self._headers, **body.get("extra_headers", {}), "content-type": "application/json"}
        content = json.dumps(members, separators=(",", ":")).encode()
        return Call(method="POST", path=path, headers=headers, content=content, answer=answer)


_STREAM: dict[str, Any] = {"stream": True, "stream_options": {"include_usage": True}}


def check_status(status: int, headers: Mapping[str, str], body: bytes) -> None:
    """Raises APIError unless the server agreed."""
    if status < 400:
        return
    raise APIError(
        _error_of(body),
        status=status,
        request_id=headers.get("x-request-id"),
        retry_after_s=_seconds(headers.get("retry-after")),
    )


def parse(answer: type[T], body: bytes) -> T:
    """A whole answer. Raises BadAnswer."""
    try:
        return answer.from_json(body)
    except ValidationError as error:
        raise BadAnswer(f"the answer is not a {answer.__name__}: {error}") from None


def model_cards(models: ModelList) -> list[ModelCard]:
    """The models of a list."""
    return models.data


class EventReader(Generic[T]):
    """Turns the bytes of a stream into chunks."""

    def __init__(self, answer: type[T]) -> None:
        self._answer = answer
        self._decoder = SSEDecoder()
        self._done = False

    def feed(self, received: bytes) -> list[T]:
        """The chunks that `received` completes. Raises APIError for an error event, BadAnswer."""
        try:
            events = self._decoder.feed(received)
        except ValueError as error:
            raise BadAnswer(str(error)) from None
        return [self._chunk(event) for event in events if not self._is_done(event)]

    def close(self) -> None:
        """The server closed. Raises BadAnswer when it did so too early."""
        if not self._done:
            raise BadAnswer("the stream ended without [DONE]")

    def _is_done(self, event: str) -> bool:
        self._done = self._done or event == DONE
        return self._done

    def _chunk(self, event: str) -> T:
        if event.startswith('{"error"'):
            raise APIError(_error_of(event.encode()))
        return parse(self._answer, event.encode())


def _error_of(body: bytes) -> ErrorObject:
    try:
        return ErrorBody.from_json(body).error
    except ValidationError:
        return ErrorObject(message=body[:500].decode("utf-8", errors="replace"))


def _seconds(value: str | None) -> float | None:
    try:
        return float(value) if value is not None else None
    except ValueError:
        return None
