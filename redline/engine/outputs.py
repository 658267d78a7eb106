"""What leaves the engine: deltas while a request runs, a RequestOutput when it is done."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from redline.decoding.sampler import TokenLogprob
from redline.engine.ledger import Counts
from redline.errors import RedlineError

FinishReason = Literal["stop", "length", "abort"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestMetrics:
    """Times of one request in seconds. arrival_s is a reading of the engine's clock, the rest are durations.

    queue_s ends when the first chunk of the prompt is scheduled, ttft_s when the first token exists. tpot_s
    is the mean time per output token after the first (0 when there is none), itl_s lists the gaps between
    consecutive tokens of the first choice, e2e_s ends with the last token of the last choice.
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Delta:
    """What one step adds to one choice of a request. `metrics` comes with the request's last delta.

    `error` is set, alone, when the request failed after it was admitted.
    """

    request_id: str
    index: int = 0
    text: str = ""
    token_ids: list[int] = field(default_factory=list)
    logprobs: list[TokenLogprob] | None = None
    finish_reason: FinishReason | None = None
    stop_reason: str | int | None = None
    metrics: RequestMetrics | None = None
    error: RedlineError | None = None

    @property
    def last(self) -> bool:
        """True when nothing follows for this request."""
        return self.metrics is not None or self.error is not None


@dataclass(slots=True, kw_only=True)
class Choice:
    """One finished answer."""

    index: int
    text: str = ""
    token_ids: list[int] = field(default_factory=list)
    finish_reason: FinishReason | None = None
    stop_reason: str | int | None = None
    logprobs: list[TokenLogprob] | None = None


@dataclass(slots=True, kw_only=True)
class RequestOutput:
    """One finished request."""

    request_id: str
    prompt: str | None
    prompt_token_ids: list[int]
    choices: list[Choice]
    metrics: RequestMetrics

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
    accepted_tokens: int = 0  # of those, the ones that were right
    requests: Counts = field(default_factory=Counts)
