"""Log-probabilities of a prompt as vLLM's extension of the API lists them."""

from __future__ import annotations

from redline.protocol.wire import ResponseModel


class PromptLogprob(ResponseModel):
    """How likely a token was in its place. Rank 1 is the likeliest."""

    logprob: float
    rank: int | None = None
    decoded_token: str | None = None


# For each token of the prompt: it and the likeliest in its place, by token id; null for the first.
PromptLogprobs = list[dict[str, PromptLogprob] | None]
