"""Log-probabilities as the completions API lists them."""

from __future__ import annotations

import codecs
import math
from typing import TYPE_CHECKING

from redline.protocol.completions import CompletionLogprobs
from redline.server.engine import ServedTokenizer

if TYPE_CHECKING:
    from redline.decoding.sampler import TokenLogprob

VERY_UNLIKELY = -9999.0  # JSON has no -Infinity


def finite(logprob: float) -> float:
    """A log-probability that JSON can carry."""
    return max(logprob, VERY_UNLIKELY) if math.isfinite(logprob) else VERY_UNLIKELY


class LogprobLister:
    """Lists the tokens of one choice; the offsets run on from chunk to chunk."""

    def __init__(self, tokenizer: ServedTokenizer) -> None:
        self._tokenizer = tokenizer
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._offset = 0

    def add(self, logprobs: list[TokenLogprob]) -> CompletionLogprobs:
        """The lists for the next tokens."""
        return CompletionLogprobs(
            text_offset=[self._next_offset(entry.token_id) for entry in logprobs],
            token_logprobs=[finite(entry.logprob) for entry in logprobs],
            tokens=[self._name(entry.token_id) for entry in logprobs],
            top_logprobs=[self._top(entry) for entry in logprobs],
        )

    def _next_offset(self, token_id: int) -> int:
        offset = self._offset
        self._offset += len(self._decoder.decode(self._tokenizer.token_bytes(token_id)))
        return offset

    def _top(self, entry: TokenLogprob) -> dict[str, float]:
        """The likeliest tokens and the chosen one, the likeliest first where two have the same name."""
        top: dict[str, float] = {}
        for token_id, logprob in [*entry.top, (entry.token_id, entry.logprob)]:
            top.setdefault(self._name(token_id), finite(logprob))
        return top

    def _name(self, token_id: int) -> str:
        """Parts of characters are told apart by their bytes, as OpenAI does."""
        data = self._tokenizer.token_bytes(token_id)
        try:
            return data.decode("utf-8")
        except UnicodeDecodeError:
            return "bytes:" + "".join(f"\\x{byte:02x}" for byte in data)
