"""Encoding of prompts of which only the last tokens may be wanted."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from redline.server.engine import ServedEngine


def prompt_room(engine: ServedEngine, max_tokens: int | None) -> int:
    """Tokens that a prompt may have before an answer of `max_tokens`, of one at least where that is None."""
    return engine.max_context - (1 if max_tokens is None else max_tokens)


def encode_last(engine: ServedEngine, prompt: str | list[int], num_kept: int | None) -> list[int]:
    """Checked token ids of a prompt, the last `num_kept` of them. Raises RequestError.

    What is cut off is neither checked nor counted. A token that begins every prompt goes with the rest.
    """
    if num_kept is None or not prompt:
        return engine.encode_prompt(prompt)
    token_ids = engine.tokenizer.encode(prompt) if isinstance(prompt, str) else prompt
    return engine.encode_prompt(token_ids[-num_kept:])
