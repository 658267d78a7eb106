"""ServedEngine: all that the server asks of an engine. AsyncLLM is one; tests use a fake."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from redline.config.sampling import SamplingParams
    from redline.engine.outputs import Delta, EngineStats


class ServedTokenizer(Protocol):
    """What answers need of a tokenizer."""

    def decode(self, ids: list[int], skip_special_tokens: bool = True) -> str:
        """Text of token ids."""

    def token_bytes(self, token_id: int) -> bytes:
        """The bytes one token stands for; they may be part of a character."""


class ServedEngine(Protocol):
    """One model behind an asynchronous interface.

    encode_prompt and encode_chat raise RequestError and are called from worker threads. stream raises
    RequestError, CapacityError, QueueFull or EngineDead, the first three only before its first delta;
    closing the iterator aborts the request. Every choice ends with exactly one finish_reason, and the last
    delta of a request carries its metrics.
    """

    @property
    def model_name(self) -> str:
        """The name requests use."""

    @property
    def max_context(self) -> int:
        """Tokens that prompt and answer may have together."""

    @property
    def tokenizer(self) -> ServedTokenizer:
        """The model's tokenizer."""

    @property
    def healthy(self) -> bool:
        """False once the engine can serve nothing any more."""

    def encode_prompt(self, prompt: str | list[int]) -> list[int]:
        """Checked token ids of a prompt."""

    def encode_chat(
        self, messages: list[dict[str, Any]], tools: list[dict[str, Any]] | None = None
    ) -> list[int]:
        """Token ids of a conversation."""

    def stream(
        self,
        prompt: list[int],
        params: SamplingParams,
        *,
        request_id: str | None = None,
        priority: int = 0,
        cache_salt: str = "",
    ) -> AsyncIterator[Delta]:
        """Deltas of one request."""

    def explain(self, request_id: str) -> list[list[str]] | None:
        """What happened to each choice of a request, in sentences; None: it is not known any more."""

    def stats(self) -> EngineStats:
        """Gauges and counters."""
