"""Job: one checked generation request, on its way through the server."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from redline.config.sampling import SamplingParams
from redline.core.shortcut import Shortcut
from redline.errors import RequestError
from redline.server.request_record import RequestRecord
from redline.server.structured import structured_outputs

if TYPE_CHECKING:
    from redline.engine.outputs import Delta
    from redline.protocol.generation import GenerationRequest

MAX_LISTED = 2**19  # log-probabilities of prompts in one answer, which are some 30 MB of JSON


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """What the engine is asked, and what heads every answer to it."""

    id: str  # ours; an id chosen by a client never gets this far
    created: int  # seconds since 1970
    model: str  # the name the client used
    prompts: list[list[int]]
    params: SamplingParams
    first_prompt: int = 0  # the number of the first of them, in a request that is asked in parts
    each_params: Sequence[SamplingParams] = ()  # one for each prompt, where they differ
    cache_salt: str = ""  # whose cached prompts these may share
    priority: int = 0  # the lower goes first
    tenant: str = ""  # whom fairness counts it for
    record: RequestRecord = field(default_factory=RequestRecord)
    shortcut: Shortcut = field(default_factory=Shortcut)

    def engine_id(self, prompt: int) -> str:
        """What the engine calls the request for one of the prompts."""
        return engine_id(self.tenant, self.id, self.first_prompt + prompt)

    @property
    def num_prompt_tokens(self) -> int:
        """Tokens of all prompts."""
        return sum(len(prompt) for prompt in self.prompts)

    @property
    def num_choices(self) -> int:
        """Answers the client gets: n for each prompt."""
        return len(self.prompts) * self.params.n

    def params_of(self, prompt: int) -> SamplingParams:
        """How the tokens of one prompt are chosen."""
        return self.each_params[prompt] if self.each_params else self.params

    def choice(self, prompt: int, delta: Delta) -> int:
        """The index clients know a choice by."""
        return prompt * self.params.n + delta.index


def engine_id(tenant: str, job_id: str, prompt: int) -> str:
    """The engine knows a request by its owner too. A name has no slash: no id reaches into another's."""
    return f"{tenant}/{job_id}-{prompt}" if tenant else f"{job_id}-{prompt}"


def sampling_params(
    request: GenerationRequest, *, max_tokens: int | None, logprobs: int | None, prompt_logprobs: int | None
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
        typical_p=request.typical_p,
        top_n_sigma=request.top_n_sigma,
        xtc_probability=request.xtc_probability,
        xtc_threshold=request.xtc_threshold,
        mirostat=request.mirostat,
        mirostat_tau=request.mirostat_tau,
        mirostat_eta=request.mirostat_eta,
        dola_layer=request.dola_layer,
        dry_multiplier=request.dry_multiplier,
        dry_base=request.dry_base,
        dry_allowed_length=request.dry_allowed_length,
        dry_penalty_last_n=request.dry_penalty_last_n,
        dry_sequence_breakers=request.dry_sequence_breakers,
        bad_words=request.bad_words,
        allowed_token_ids=request.allowed_token_ids,
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
        prompt_logprobs=prompt_logprobs,
        use_beam_search=request.use_beam_search,
        best_of=request.best_of,
        length_penalty=request.length_penalty,
        early_stopping=request.early_stopping,
        num_beam_groups=request.num_beam_groups,
        diversity_penalty=request.diversity_penalty,
        structured_outputs=structured_outputs(request),
    )


def check_num_choices(num_prompts: int, params: SamplingParams, limit: int) -> None:
    """Raises RequestError when a request asks for more answers, or beams of them, than one request may."""
    each = params.beam_width
    if num_prompts * each > limit:
        name = "n" if each == params.n else "best_of"
        raise RequestError(
            f"{name} is {each} and there are {num_prompts} prompts, {num_prompts * each} answers together; "
            f"at most {limit} are accepted",
            param=name if num_prompts == 1 else "prompt",
        )


def check_num_listed(prompts: Sequence[Sequence[int]], times: int, num_top: int | None, param: str) -> None:
    """Raises RequestError when the answer would list more log-probabilities of prompts than one may.

    `times`: how often each prompt is listed; `num_top`: the likeliest beside each token, None: nothing is.
    """
    if num_top is None:
        return
    count = sum(map(len, prompts)) * times * (num_top + 1)
    if count > MAX_LISTED:
        raise RequestError(
            f"{param} is {num_top}, and the answer would list {count} log-probabilities of prompts; at most "
            f"{MAX_LISTED} are accepted: ask for fewer, or send shorter prompts, fewer of them, or a lower n",
            param=param,
        )
