"""How many tokens a request took."""

from __future__ import annotations

from redline.protocol.wire import ResponseModel


class PromptTokensDetails(ResponseModel):
    """Where the prompt's tokens came from."""

    cached_tokens: int | None = None


class CompletionTokensDetails(ResponseModel):
    """What the generated tokens were spent on."""

    reasoning_tokens: int | None = None


class Usage(ResponseModel):
    """Token counts; the prompt counts once however many choices were asked for."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    total_tokens: int = 0
    prompt_tokens_details: PromptTokensDetails | None = None
    completion_tokens_details: CompletionTokensDetails | None = None


def usage(
    num_prompt_tokens: int,
    num_output_tokens: int,
    num_cached_tokens: int | None,
    num_reasoning_tokens: int = 0,
) -> Usage:
    """Usage so far; num_cached_tokens is None while the request still runs."""
    counts = Usage(
        prompt_tokens=num_prompt_tokens,
        completion_tokens=num_output_tokens,
        total_tokens=num_prompt_tokens + num_output_tokens,
    )
    if num_cached_tokens is not None:
        counts.prompt_tokens_details = PromptTokensDetails(cached_tokens=num_cached_tokens)
        counts.completion_tokens_details = CompletionTokensDetails(reasoning_tokens=num_reasoning_tokens)
    return counts
