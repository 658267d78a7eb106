"""Log-probabilities as the completions API lists them, and those of prompts as vLLM does."""

from __future__ import annotations

import codecs
import math
from typing import TYPE_CHECKING

from redline.protocol.completions import CompletionLogprobs
from redline.protocol.prompt_logprobs import PromptLogprob, PromptLogprobs
from redline.server.engine import ServedTokenizer

if TYPE_CHECKING:
    from redline.decoding.sampler import TokenLogprob

VERY_UNLIKELY = -9999.0  # JSON has no -Infinity


def finite(logprob: float) -> float:
    """A log-probability that JSON can carry."""
    return max(logprob, VERY_UNLIKELY) if math.isfinite(logprob) else VERY_UNLIKELY


def id_name(token_id: int) -> str:
    """What vLLM calls a token whose id is wanted in place of its text."""
    return f"token_id:{token_id}"


class LogprobLister:
    """Lists the tokens of one choice; the offsets run on from chunk to chunk.

    `echoed`: the tokens of the prompt and the text that stands for them, where the choice begins with it.
    `as_ids`: tokens are named by their ids.
    """

    def __init__(
        self,
        tokenizer: ServedTokenizer,
        num_top: int,
        echoed: tuple[list[int], str] = ([], ""),
        *,
        as_ids: bool = False,
    ) -> None:
        self._as_ids = as_ids
        self._tokenizer = tokenizer
        self._num_top = num_top
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        # What tokens have and their text lacks stands at its beginning: a token that begins every prompt.
        token_ids, text = echoed
        whole = b"".join(tokenizer.token_bytes(token_id) for token_id in token_ids)
        self._offset = len(text) - len(whole.decode("utf-8", errors="replace"))

    def add(self, entries: list[tuple[int, TokenLogprob | None]]) -> CompletionLogprobs:
        """The lists for the next tokens, each with its log-probability if it has one."""
        return CompletionLogprobs(
            text_offset=[self._next_offset(token_id) for token_id, _ in entries],
            token_logprobs=[None if entry is None else finite(entry.logprob) for _, entry in entries],
            tokens=[self._name(token_id) for token_id, _ in entries],
            top_logprobs=[None if entry is None else self._top(entry) for _, entry in entries],
        )

    def _next_offset(self, token_id: int) -> int:
        offset = self._offset
        self._offset += len(self._decoder.decode(self._tokenizer.token_bytes(token_id)))
        return max(0, offset)

    def _top(self, entry: TokenLogprob) -> dict[str, float]:
        """The likeliest tokens and the chosen one, the likeliest first where two have the same name."""
        top: dict[str, float] = {}
        for token_id, logprob in [*entry.top[: self._num_top], (entry.token_id, entry.logprob)]:
            top.setdefault(self._name(token_id), finite(logprob))
        return top

    def _name(self, token_id: int) -> str:
        """Parts of characters are told apart by their bytes, as OpenAI does."""
        if self._as_ids:
            return id_name(token_id)
        data = self._tokenizer.token_bytes(token_id)
        try:
            return data.decode("utf-8")
        except UnicodeDecodeError:
            return "bytes:" + "".join(f"\\x{byte:02x}" for byte in data)


def prompt_logprobs(
    tokenizer: ServedTokenizer, entries: list[TokenLogprob | None], num_top: int
) -> PromptLogprobs:
    """The log-probabilities of a prompt, by token id."""
    return [None if entry is None else _by_id(tokenizer, entry, num_top) for entry in entries]


def _by_id(tokenizer: ServedTokenizer, entry: TokenLogprob, num_top: int) -> dict[str, PromptLogprob]:
    likeliest = [(rank, *pair) for rank, pair in enumerate(entry.top[:num_top], 1)]
    return {
        str(token_id): PromptLogprob(
            logprob=finite(logprob),
            rank=rank,
            decoded_token=tokenizer.token_bytes(token_id).decode("utf-8", errors="replace"),
        )
        for rank, token_id, logprob in [*likeliest, (entry.rank, entry.token_id, entry.logprob)]
    }
