"""Job: one checked generation request, on its way through the server."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from redline.config.sampling import SamplingParams
from redline.errors import RequestError

if TYPE_CHECKING:
    from redline.engine.outputs import Delta
    from redline.protocol.generation import GenerationRequest


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """What the engine is asked, and what heads every answer to it."""

    id: str  # ours; an id chosen by a client never gets this far
    created: int  # seconds since 1970
    model: str  # the name the client used
    prompts: list[list[int]]
    params: SamplingParams
    cache_salt: str = ""  # whose cached prompts these may share

    @property
    def num_prompt_tokens(self) -> int:
        """Tokens of all prompts."""
        return sum(len(prompt) for prompt in self.prompts)

    @property
    def num_choices(self) -> int:
        """Answers the client gets: n for each prompt."""
        return len(self.prompts) * self.params.n

    def choice(self, prompt: int, delta: Delta) -> int:
        """The index clients know a choice by."""
        return prompt * self.params.n + delta.index


def sampling_params(
    request: GenerationRequest, *, max_tokens: int | None, logprobs: int | None
) -> SamplingParams:
    """The engine's parameters for a request. Raises RequestError when they contradict each other."""
    only_best = request.top_p == 0  # OpenAI allows 0: nothing but the most likely token
    return SamplingParams(
        n=request.n,
        max_tokens=max_tokens,
        min_tokens=request.min_tokens,
        temperature=request.temperature,
        top_k=1 if only_best else request.top_k,
        top_p=1.0 if only_best else request.top_p,
        min_p=request.min_p,
        repetition_penalty=request.repetition_penalty,
        presence_penalty=request.presence_penalty,
        frequency_penalty=request.frequency_penalty,
        logit_bias=request.logit_bias,
        seed=request.seed,
        stop=request.stop,
        stop_token_ids=request.stop_token_ids,
        include_stop_str_in_output=request.include_stop_str_in_output,
        ignore_eos=request.ignore_eos,
        skip_special_tokens=request.skip_special_tokens,
        logprobs=logprobs,
    )


def check_num_choices(num_prompts: int, n: int, limit: int) -> None:
    """Raises RequestError when a request asks for more answers than one request may."""
    if num_prompts * n > limit:
        raise RequestError(
            f"n is {n} and there are {num_prompts} prompts, {num_prompts * n} answers together; "
            f"at most {limit} are accepted",
            param="n" if num_prompts == 1 else "prompt",
        )
