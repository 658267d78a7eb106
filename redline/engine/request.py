"""ActiveRequest: the engine's record of one request, from admission to its last token."""

from __future__ import annotations

from dataclasses import dataclass, replace

from redline.config.pooling import PoolingParams
from redline.config.sampling import SamplingParams
from redline.core.sequence import Sequence
from redline.decoding.sampler import TokenLogprob
from redline.engine.choice import ChoiceState
from redline.engine.outputs import Delta, PromptLogprobs, RequestMetrics
from redline.engine.pooling import MeanPool
from redline.engine.scoring import first_scored
from redline.errors import RequestError

MAX_PIN_S = 24 * 3600


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestOptions:
    """How a request is served, which does not change its tokens. Raises RequestError.

    The lower `priority` goes first. `tenant` is whom fairness counts it for, `deadline_s` when its first
    token is wanted, in seconds from its arrival; the orders "fair" and "deadline" look at them. The prompt
    stays in the prefix cache for `pin_s` seconds after the request has ended; what is cached, and what drafts
    come from, is shared only between requests of the same `cache_salt`. `arrival_s`: when it arrived by
    the engine's clock, None: now.
    """

    priority: int = 0
    tenant: str = ""
    deadline_s: float | None = None
    pin_s: float = 0.0
    cache_salt: str = ""
    arrival_s: float | None = None

    def __post_init__(self) -> None:
        if self.deadline_s is not None and not self.deadline_s >= 0:
            raise RequestError(
                f"deadline_s is {self.deadline_s}; it must be seconds from now, 0 or more", param="deadline_s"
            )
        if not isinstance(self.cache_salt, str):
            raise RequestError(f"cache_salt is {self.cache_salt!r:.80}; it must be text", param="cache_salt")
        if not 0 <= self.pin_s <= MAX_PIN_S:
            raise RequestError(f"pin_s is {self.pin_s}; it must be seconds, 0 to {MAX_PIN_S}", param="pin_s")


NO_OPTIONS = RequestOptions()


class ActiveRequest:
    """One request; its first choice runs the prompt, the others are forked from it.

    `counted_s`: what the ledger returned when it came, and takes when it ends. The scores of its prompt are
    gathered here until its first delta takes them along.
    """

    def __init__(
        self,
        request_id: str,
        prompt_token_ids: list[int],
        params: SamplingParams,
        seed: int,
        lead: ChoiceState,
        arrival_s: float,
        counted_s: float,
    ) -> None:
        self.request_id = request_id
        self.prompt_token_ids = prompt_token_ids
        self.params = params
        self.seed = seed
        self.choices = [lead]
        self.counted_s = counted_s
        self._arrival_s = arrival_s
        self.pool = MeanPool() if isinstance(params, PoolingParams) else None
        self._prompt_logprobs: PromptLogprobs | None = None
        if params.prompt_logprobs is not None:
            self._prompt_logprobs = [None] * min(first_scored(params), len(prompt_token_ids))

    @property
    def num_unforked(self) -> int:
        """Choices that do not exist yet: they share the prompt and start with its logits."""
        return self.params.n - len(self.choices)

    @property
    def sequences(self) -> list[Sequence]:
        """Those that wait or run."""
        return [choice.seq for choice in self.choices if choice.finish_reason is None]

    @property
    def finished(self) -> bool:
        return self.num_unforked == 0 and all(choice.finish_reason for choice in self.choices)

    def add_scores(self, scores: list[TokenLogprob]) -> None:
        """Take the scores of the next tokens of the prompt; a preemption does not ask for them again."""
        seq = self.choices[0].seq
        assert self._prompt_logprobs is not None, f"{seq} is not scored"
        self._prompt_logprobs += scores
        seq.to_score = range(len(self._prompt_logprobs) - 1, seq.to_score.stop)

    def pooled(self) -> None:
        """Its pool has taken hidden states; a preemption does not ask for them again."""
        seq = self.choices[0].seq
        assert self.pool is not None, f"{seq} is not embedded"
        seq.to_score = range(self.pool.num_rows, seq.to_score.stop)

    def with_embedding(self, delta: Delta) -> Delta:
        """The delta, with the vector of the prompt if that is what was asked for. Raises RequestError."""
        return delta if self.pool is None else replace(delta, embedding=self.pool.embedding())

    def with_prompt_logprobs(self, delta: Delta) -> Delta:
        """The delta, with the scores of the prompt if it is the first."""
        if self._prompt_logprobs is None:
            return delta
        whole, self._prompt_logprobs = self._prompt_logprobs, None
        assert len(whole) == len(self.prompt_token_ids), f"{len(whole) = } {len(self.prompt_token_ids) = }"
        return replace(delta, prompt_logprobs=whole)

    def metrics(self) -> RequestMetrics:
        """Times and counts of the finished request."""
        lead = self.choices[0]
        times = lead.token_times
        gaps = [later - earlier for earlier, later in zip(times, times[1:], strict=False)]
        assert lead.seq.first_scheduled_s is not None, f"{lead.seq} was never scheduled"
        first_s = times[0] if times else lead.ended_s
        assert first_s is not None, f"{lead.seq} has not ended"
        last_s = max(
            (choice.token_times[-1] for choice in self.choices if choice.token_times), default=first_s
        )
        return RequestMetrics(
            arrival_s=self._arrival_s,
            queue_s=lead.seq.first_scheduled_s - self._arrival_s,
            ttft_s=first_s - self._arrival_s,
            tpot_s=sum(gaps) / len(gaps) if gaps else 0.0,
            itl_s=gaps,
            e2e_s=last_s - self._arrival_s,
            num_prompt_tokens=len(self.prompt_token_ids),
            num_output_tokens=sum(len(choice.token_times) for choice in self.choices),
            num_cached_tokens=lead.seq.num_cached_tokens,
            num_draft_tokens=sum(choice.num_draft_tokens for choice in self.choices),
            num_accepted_tokens=sum(choice.num_accepted_tokens for choice in self.choices),
            num_preemptions=sum(choice.seq.num_preemptions for choice in self.choices),
            preempted_s=[
                (times[0] - self._arrival_s, times[1] - self._arrival_s)
                for choice in self.choices
                for times in choice.seq.preempted_s
                if len(times) == 2  # it ran again
            ],
        )
