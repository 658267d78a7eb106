"""AsyncRedlineClient: RedlineClient for asyncio, with as many requests at once as the caller starts."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from typing import Any, Self, TypeVar

import httpx

from redline.client._core import Call, Core, EventReader, Messages, Prompt, check_status, model_cards, parse
from redline.client.errors import APIError, ConnectionFailed
from redline.protocol.chat import ChatChunk, ChatResponse
from redline.protocol.completions import CompletionResponse
from redline.protocol.models import ModelCard
from redline.protocol.wire import ResponseModel

T = TypeVar("T", bound=ResponseModel)


class AsyncRedlineClient:
    """The methods, options and errors of RedlineClient.

    The number of connections is not limited. Close a stream that is left early (contextlib.aclosing); that
    aborts its request.
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
        self._http = httpx.AsyncClient(
            base_url=self._core.base_url,
            timeout=timeout_s,
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=None),
            trust_env=False,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close all connections."""
        await self._http.aclose()

    async def chat(self, messages: Messages, **options: Any) -> ChatResponse:
        """A whole answer to a conversation."""
        return await self._whole(self._core.chat(messages, options))

    async def complete(self, prompt: Prompt, **options: Any) -> CompletionResponse:
        """A whole completion of a text, token ids, or several of them."""
        return await self._whole(self._core.complete(prompt, options))

    def stream_chat(self, messages: Messages, **options: Any) -> AsyncGenerator[ChatChunk, None]:
        """An answer as it is made."""
        return self._events(self._core.stream_chat(messages, options))

    def stream_complete(self, prompt: Prompt, **options: Any) -> AsyncGenerator[CompletionResponse, None]:
        """A completion as it is made."""
        return self._events(self._core.stream_complete(prompt, options))

    async def models(self) -> list[ModelCard]:
        """What the server has."""
        return model_cards(await self._whole(self._core.models()))

    async def healthy(self) -> bool:
        """True when the server can serve."""
        try:
            await self._whole(self._core.health())
        except (APIError, ConnectionFailed):
            return False
        return True

    async def _whole(self, call: Call[T]) -> T:
        try:
            response = await self._http.request(
                call.method, call.path, content=call.content, headers=call.headers
            )
        except httpx.HTTPError as error:
            raise ConnectionFailed(f"{self._core.base_url}: {error}") from error
        check_status(response.status_code, response.headers, response.content)
        return parse(call.answer, response.content)

    async def _events(self, call: Call[T]) -> AsyncGenerator[T, None]:
        reader = EventReader(call.answer)
        try:
            async with self._http.stream(
                call.method, call.path, content=call.content, headers=call.headers
            ) as response:
                if response.is_error:
                    check_status(response.status_code, response.headers, await response.aread())
                async for data in response.aiter_bytes():
                    for chunk in reader.feed(data):
                        yield chunk
        except httpx.HTTPError as error:
            raise ConnectionFailed(f"{self._core.base_url}: {error}") from error
        reader.close()
