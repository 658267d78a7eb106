"""RedlineClient: a small synchronous client of OpenAI-compatible servers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Self, TypeVar

import httpx

from redline.client._core import Call, Core, EventReader, Messages, Prompt, check_status, model_cards, parse
from redline.client.errors import APIError, ConnectionFailed
from redline.protocol.chat import ChatChunk, ChatResponse
from redline.protocol.completions import CompletionResponse
from redline.protocol.models import ModelCard
from redline.protocol.wire import ResponseModel

T = TypeVar("T", bound=ResponseModel)


class RedlineClient:
    """with RedlineClient("http://127.0.0.1:8000", model="smollm2") as client:
        for chunk in client.stream_chat([{"role": "user", "content": "Hi"}], max_tokens=20): ...

    Options are the members of the API's request; `extra_headers` adds headers to one request. Nothing is
    retried. Raises ConnectionFailed, APIError or BadAnswer.
    """

    def __init__(
        self,
        base_url: str,
        *,
        model: str | None = None,
        api_key: str | None = None,
        headers: Mapping[str, str] | None = None,
        timeout_s: float | None = 600.0,
    ) -> None:
        self._core = Core(base_url, model=model, api_key=api_key, headers=headers)
        self._http = httpx.Client(base_url=self._core.base_url, timeout=timeout_s, trust_env=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close all connections."""
        self._http.close()

    def chat(self, messages: Messages, **options: Any) -> ChatResponse:
        """A whole answer to a conversation."""
        return self._whole(self._core.chat(messages, options))

    def complete(self, prompt: Prompt, **options: Any) -> CompletionResponse:
        """A whole completion of a text, token ids, or several of them."""
        return self._whole(self._core.complete(prompt, options))

    def stream_chat(self, messages: Messages, **options: Any) -> Iterator[ChatChunk]:
        """An answer as it is made. Closing the iterator closes the connection, which aborts the request."""
        return self._events(self._core.stream_chat(messages, options))

    def stream_complete(self, prompt: Prompt, **options: Any) -> Iterator[CompletionResponse]:
        """A completion as it is made."""
        return self._events(self._core.stream_complete(prompt, options))

    def models(self) -> list[ModelCard]:
        """What the server has."""
        return model_cards(self._whole(self._core.models()))

    def healthy(self) -> bool:
        """True when the server can serve."""
        try:
            self._whole(self._core.health())
        except (APIError, ConnectionFailed):
            return False
        return True

    def _whole(self, call: Call[T]) -> T:
        try:
            response = self._http.request(call.method, call.path, content=call.content, headers=call.headers)
        except httpx.HTTPError as error:
            raise ConnectionFailed(f"{self._core.base_url}: {error}") from error
        check_status(response.status_code, response.headers, response.content)
        return parse(call.answer, response.content)

    def _events(self, call: Call[T]) -> Iterator[T]:
        reader = EventReader(call.answer)
        try:
            with self._http.stream(
                call.method, call.path, content=call.content, headers=call.headers
            ) as response:
                if response.is_error:
                    check_status(response.status_code, response.headers, response.read())
                for data in response.iter_bytes():
                    yield from reader.feed(data)
        except httpx.HTTPError as error:
            raise ConnectionFailed(f"{self._core.base_url}: {error}") from error
        reader.close()
