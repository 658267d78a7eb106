"""ServedEngine: all that the server asks of an engine. AsyncLLM is one; tests use a fake."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Mapping
from typing import TYPE_CHECKING, Any, Protocol

from redline.core.shortcut import Shortcut

if TYPE_CHECKING:
    from redline.config.sampling import SamplingParams
    from redline.engine.outputs import Delta, EngineStats
    from redline.engine.snapshot import Snapshot


class ServedTokenizer(Protocol):
    """What answers need of a tokenizer. Encoding raises RequestError."""

    vocab_size: int
    prefix_ids: list[int]  # what the model wants before every prompt
    chat_template: str | None
    template_tokens: Mapping[str, str]

    def encode(self, text: str, add_special_tokens: bool = True, *, parse_special: bool = False) -> list[int]:
        """Token ids of text."""

    def id_to_token(self, token_id: int) -> str | None:
        """The vocabulary's own spelling of a token."""

    def decode(self, ids: list[int], skip_special_tokens: bool = True) -> str:
        """Text of token ids."""

    def token_bytes(self, token_id: int) -> bytes:
        """The bytes one token stands for; they may be part of a character."""


class ServedTemplate(Protocol):
    """What the server asks of a chat template."""

    @property
    def source(self) -> str:
        """Its text, which shows how its model writes down calls of tools."""

    @property
    def reads(self) -> Collection[str]:
        """The variables that it looks at."""


class ServedEngine(Protocol):
    """One model behind an asynchronous interface.

    encode_prompt, encode_chat and tokenize_chat raise RequestError and are called from worker threads. stream
    raises RequestError, CapacityError, QueueFull or EngineDead, the first three only before its first delta;
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
    def embedding_size(self) -> int:
        """Numbers in the vector of a prompt."""

    @property
    def tokenizer(self) -> ServedTokenizer:
        """The model's tokenizer."""

    @property
    def chat_template(self) -> ServedTemplate | None:
        """The model's chat template, if it has one."""

    @property
    def healthy(self) -> bool:
        """False once the engine can serve nothing any more."""

    @property
    def stalled_s(self) -> float:
        """Seconds since the last step ended, or work came; 0 while there is nothing to do."""

    @property
    def order(self) -> str:
        """Who is admitted first; only "priority" listens to the priority that a request asks for."""

    def encode_prompt(self, prompt: str | list[int]) -> list[int]:
        """Checked token ids of a prompt."""

    def encode_chat(
        self,
        messages: list[dict[str, Any]],
        tools: list[dict[str, Any]] | None = None,
        variables: Mapping[str, Any] | None = None,
        *,
        add_generation_prompt: bool = True,
        continue_final_message: bool = False,
    ) -> list[int]:
        """Token ids of a conversation; `variables` are for the chat template. `continue_final_message`: they
        end with the content of the last message."""

    def tokenize_chat(
        self,
        messages: list[dict[str, Any]],
        tools: list[dict[str, Any]] | None = None,
        variables: Mapping[str, Any] | None = None,
        *,
        add_generation_prompt: bool = True,
        continue_final_message: bool = False,
    ) -> list[int]:
        """Token ids of a conversation, whether the context holds them or not."""

    def stream(
        self,
        prompt: list[int],
        params: SamplingParams,
        *,
        request_id: str | None = None,
        priority: int = 0,
        tenant: str = "",
        cache_salt: str = "",
        shortcut: Shortcut | None = None,
    ) -> AsyncIterator[Delta]:
        """Deltas of one request, without those that `shortcut` takes."""

    def explain(self, request_id: str) -> list[list[str]] | None:
        """What happened to each choice of a request, in sentences; None: it is not known any more."""

    def snapshot(self, since: int = 0) -> Snapshot:
        """What it is doing, with its latest decisions from event number `since` on."""

    def stats(self) -> EngineStats:
        """Gauges and counters."""
