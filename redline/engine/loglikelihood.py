"""How likely a model finds a text: what to score, in which windows, and the result.

Texts are cut into tokens, contexts and windows as lm-evaluation-harness does it (Gao et al., 2021), so that
numbers can be compared with those of others.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from redline.engine.inputs import Prompt
from redline.engine.outputs import RequestOutput
from redline.errors import ContextLengthError, RequestError
from redline.models.tokenizer import Tokenizer


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """How likely the model finds some tokens, one after the other; natural logarithms.

    `is_greedy`: each of them was the likeliest in its place, so greedy decoding would have written them.
    """

    token_ids: list[int]
    token_logprobs: list[float]
    is_greedy: bool

    @property
    def logprob(self) -> float:
        """Of all tokens together."""
        return math.fsum(self.token_logprobs)

    @property
    def num_tokens(self) -> int:
        return len(self.token_ids)

    @property
    def perplexity(self) -> float:
        """exp(-logprob / num_tokens): between how many tokens the model was torn, on average."""
        return math.exp(-self.logprob / self.num_tokens)


class ScoredTokens(NamedTuple):
    """Tokens to run, of which those from `start` on are scored."""

    token_ids: list[int]
    start: int


def score_of(output: RequestOutput, start: int) -> Score:
    """The score of the tokens of a prompt from `start` on."""
    assert output.prompt_logprobs is not None, f"{output.request_id} was not scored"
    entries = [entry for entry in output.prompt_logprobs[start:] if entry is not None]
    return Score(
        token_ids=[entry.token_id for entry in entries],
        token_logprobs=[entry.logprob for entry in entries],
        is_greedy=all(entry.rank == 1 for entry in entries),
    )


def joined(scores: list[Score]) -> Score:
    """The score of several stretches of one text."""
    return Score(
        token_ids=[token_id for score in scores for token_id in score.token_ids],
        token_logprobs=[logprob for score in scores for logprob in score.token_logprobs],
        is_greedy=all(score.is_greedy for score in scores),
    )


def encode_pair(tokenizer: Tokenizer, context: Prompt, continuation: Prompt) -> ScoredTokens:
    """A context and what may follow it, as tokens: both texts, or both token ids.

    Texts are tokenised together and parted where the tokens of the context alone would end. Spaces that end
    the context count as the beginning of what follows. Raises RequestError.
    """
    if isinstance(context, str) and isinstance(continuation, str):
        return _encode_texts(tokenizer, context, continuation)
    if not isinstance(context, list | tuple) or not isinstance(continuation, list | tuple):
        raise RequestError(
            f"the context is {type(context).__name__} and the continuation is {type(continuation).__name__}; "
            "both must be text, or both lists of token ids",
            param="pairs",
        )
    first = list(context) or start_token_ids(tokenizer)
    return _with_something_to_score([*first, *continuation], len(first))


def _encode_texts(tokenizer: Tokenizer, context: str, continuation: str) -> ScoredTokens:
    stripped = context.rstrip()
    continuation = context[len(stripped) :] + continuation
    if not stripped:
        first = start_token_ids(tokenizer)
        return _with_something_to_score([*first, *tokenizer.encode(continuation, False)], len(first))
    first = tokenizer.prefix_ids
    start = len(first) + len(tokenizer.encode(stripped, False))
    return _with_something_to_score([*first, *tokenizer.encode(stripped + continuation, False)], start)


def _with_something_to_score(token_ids: list[int], start: int) -> ScoredTokens:
    if start >= len(token_ids):
        raise RequestError(
            "the continuation has no token of its own behind those of the context: it is empty, or part of "
            "the last word there. Begin it with a space, or move that word into it",
            param="pairs",
        )
    return ScoredTokens(token_ids, start)


def start_token_ids(tokenizer: Tokenizer) -> list[int]:
    """What stands before a text without context: what the model wants there, else its BOS, else an EOS."""
    if tokenizer.prefix_ids:
        return tokenizer.prefix_ids
    if tokenizer.bos_token_id is not None:
        return [tokenizer.bos_token_id]
    if tokenizer.eos_token_ids:
        return [min(tokenizer.eos_token_ids)]
    raise RequestError(
        "the context is empty, and this model has no token to begin a text with; give a context",
        param="pairs",
    )


def rolling_windows(token_ids: list[int], start_ids: list[int], max_tokens: int) -> Iterator[ScoredTokens]:
    """A text of any length in windows of up to `max_tokens`, so that each token is scored once.

    The first begins with `start_ids`, each other one with the last token of the one before. The last one
    reaches back as far as fits. Raises ContextLengthError when not even one token fits.
    """
    room = max_tokens - len(start_ids)
    if room < 1:
        raise ContextLengthError(
            f"the context holds {max_tokens} tokens; {len(start_ids)} begin a text and leave none to score. "
            "Raise max_context",
            param="texts",
        )
    yield ScoredTokens([*start_ids, *token_ids[:room]], len(start_ids))
    for first in range(room, len(token_ids), max_tokens - 1):
        end = min(first + max_tokens - 1, len(token_ids))
        begin = max(end - max_tokens, 0)
        yield ScoredTokens(token_ids[begin:end], first - begin)
