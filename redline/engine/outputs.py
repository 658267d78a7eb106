"""What leaves the engine: deltas while a request runs, a RequestOutput when it is done."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from redline.decoding.sampler import TokenLogprob
from redline.engine.ledger import Counts
from redline.engine.step_meter import StepMeter
from redline.errors import RedlineError
from redline.ops.arrays import F32

FinishReason = Literal["stop", "length", "abort"]
PromptLogprobs = list[TokenLogprob | None]  # None: the first token, and those that were not to be scored


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestMetrics:
    """Times of one request in seconds. arrival_s is a reading of the engine's clock, the rest are durations.

    queue_s ends when the first chunk of the prompt is scheduled, ttft_s when the first token exists (or, when
    none was asked for, when the prompt is done). tpot_s
    is the mean time per output token after the first (0 when there is none), itl_s lists the gaps between
    consecutive tokens of the first choice, e2e_s ends with the last token of the last choice. preempted_s:
    from when to when choices waited again after they had given way, counted from the arrival like the others.
    """

    arrival_s: float
    queue_s: float
    ttft_s: float
    tpot_s: float
    itl_s: list[float]
    e2e_s: float
    num_prompt_tokens: int
    num_output_tokens: int
    num_cached_tokens: int
    num_draft_tokens: int = 0
    num_accepted_tokens: int = 0
    num_preemptions: int = 0
    preempted_s: list[tuple[float, float]] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class Delta:
    """What one step adds to one choice of a request. `metrics` comes with the request's last delta.

    `prompt_logprobs` comes with the first, whole, when it was asked for.

    `error` is set, alone, when the request failed after it was admitted.

    `time_s`: when its token was drawn, by time.perf_counter; None where no step has drawn one.
    """

    request_id: str
    index: int = 0
    text: str = ""
    token_ids: list[int] = field(default_factory=list)
    logprobs: list[TokenLogprob] | None = None
    finish_reason: FinishReason | None = None
    stop_reason: str | int | None = None
    cumulative_logprob: float | None = None  # this and score: of whole answers that beam search found
    score: float | None = None
    metrics: RequestMetrics | None = None
    error: RedlineError | None = None
    prompt_logprobs: PromptLogprobs | None = None
    embedding: F32 | None = field(default=None, compare=False)  # [D], of length 1; comes with the last
    time_s: float | None = field(default=None, compare=False)

    @property
    def last(self) -> bool:
        """True when nothing follows for this request."""
        return self.metrics is not None or self.error is not None


@dataclass(slots=True, kw_only=True)
class Choice:
    """One finished answer.

    Of one that beam search found, `cumulative_logprob` is the sum of its tokens' natural log-probabilities,
    `score` what it was ranked by: that over its length ** length_penalty, less what diversity cost.
    """

    index: int
    text: str = ""
    token_ids: list[int] = field(default_factory=list)
    finish_reason: FinishReason | None = None
    stop_reason: str | int | None = None
    logprobs: list[TokenLogprob] | None = None
    cumulative_logprob: float | None = None
    score: float | None = None


@dataclass(slots=True, kw_only=True)
class RequestOutput:
    """One finished request. `prompt_logprobs`: an entry for each token of the prompt."""

    request_id: str
    prompt: str | None
    prompt_token_ids: list[int]
    choices: list[Choice]
    metrics: RequestMetrics
    prompt_logprobs: PromptLogprobs | None = None
    embedding: F32 | None = field(default=None, compare=False)

    @property
    def text(self) -> str:
        """The text of the first choice."""
        return self.choices[0].text


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineStats:
    """Gauges and counters of an engine since it was built."""

    running: int
    waiting: int
    kv_usage: float  # share of the K/V blocks in use by sequences, 0..1
    num_blocks: int
    num_preemptions: int
    prompt_tokens: int
    generation_tokens: int
    prefix_queries: int  # prompt tokens looked up
    prefix_hits: int  # prompt tokens found
    num_steps: int
    prefix_hit_requests: int = 0  # of which anything was found
    prefix_evictions: int = 0  # blocks
    offload_spilled_blocks: int = 0  # handed to slower memory when they left the cache
    offload_loaded_tokens: int = 0  # found there, and not computed again
    draft_tokens: int = 0  # guessed and computed
    accepted_tokens: int = 0  # of those, the ones that came, and are part of an answer
    speculative_method: str = ""  # what guesses; empty: nothing does
    speculative_steps: dict[str, int] = field(
        default_factory=dict
    )  # that decoded, by what became of guessing
    requests: Counts = field(default_factory=Counts)
    steps: StepMeter = field(default_factory=StepMeter)
    weight_bytes: int = 0  # of memory, as packed for the kernels
    kv_bytes: int = 0  # of all K/V blocks
    block_size: int = 0  # tokens
