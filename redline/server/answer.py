"""Answer: turns the deltas of one request into chunks of a stream or into one whole response."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Generic, TypeVar

from redline.protocol.generation import GenerationRequest, ScoredChoice
from redline.protocol.prompt_logprobs import PromptLogprobs
from redline.protocol.usage import Usage, usage
from redline.protocol.wire import ResponseModel
from redline.server.engine import ServedTokenizer
from redline.server.job import Job
from redline.server.logprobs import finite, prompt_logprobs

if TYPE_CHECKING:
    from redline.decoding.sampler import TokenLogprob
    from redline.engine.outputs import Delta

R = TypeVar("R", bound=GenerationRequest)

TEXT = "\ue000text\ue001"  # stands for the text of a chunk that is filled in later


@dataclass(slots=True)
class Collected:
    """All that has arrived for one choice."""

    text: list[str] = field(default_factory=list)
    token_ids: list[int] = field(default_factory=list)
    logprobs: list[TokenLogprob] = field(default_factory=list)
    finish_reason: str | None = None
    stop_reason: str | int | None = None
    cumulative_logprob: float | None = None
    score: float | None = None

    def add(self, delta: Delta) -> None:
        """Append a delta. Every choice ends once."""
        assert self.finish_reason is None, f"{self.finish_reason = } {delta = }"
        self.text.append(delta.text)
        self.token_ids += delta.token_ids
        self.logprobs += delta.logprobs or []
        self.finish_reason = delta.finish_reason
        self.stop_reason = delta.stop_reason
        self.cumulative_logprob, self.score = delta.cumulative_logprob, delta.score


def add_scores(choice: ScoredChoice, source: Collected | Delta) -> None:
    """Say what beam search found out; other answers have no such members."""
    if source.score is not None and source.cumulative_logprob is not None:
        choice.score, choice.cumulative_logprob = finite(source.score), finite(source.cumulative_logprob)


class Answer(ABC, Generic[R]):
    """One request's answer while it grows. Use it for a stream or for a response, not for both."""

    def __init__(self, request: R, job: Job, tokenizer: ServedTokenizer) -> None:
        self.request = request
        self.job = job
        self.tokenizer = tokenizer
        self._num_output_tokens = 0
        self._num_cached_tokens: int | None = None
        self._finished: set[int] = set()
        self._scored: dict[int, list[TokenLogprob | None]] = {}  # by prompt
        self._listed: dict[int, PromptLogprobs] = {}  # the same as clients get it: the choices share it

    @abstractmethod
    def chunks(self, prompt: int, delta: Delta) -> Sequence[ResponseModel]:
        """The events of a stream that one delta gives."""

    def text_chunk(self, index: int) -> ResponseModel | None:
        """A chunk with TEXT as its text, if all but the last that follow for a choice differ in it alone."""
        return None

    def new_text(self, delta: Delta) -> str:
        """The text of such a chunk."""
        return delta.text

    @abstractmethod
    def usage_chunk(self) -> ResponseModel:
        """The last event of a stream whose client asked for usage."""

    @abstractmethod
    def response(self, choices: list[Collected]) -> ResponseModel:
        """The whole answer to a client that did not ask for a stream."""

    def count(self, prompt: int, delta: Delta) -> None:
        """Keep the totals; each delta is counted once, before it is used."""
        self._num_output_tokens += len(delta.token_ids)
        if delta.prompt_logprobs is not None:
            self._scored[prompt] = delta.prompt_logprobs
        if delta.finish_reason is not None:
            index = self.job.choice(prompt, delta)
            assert index not in self._finished, f"{index = } finished twice"
            self._finished.add(index)
        if delta.metrics is not None:
            self._num_cached_tokens = (self._num_cached_tokens or 0) + delta.metrics.num_cached_tokens

    def check_complete(self) -> None:
        """Every choice must have said why it ended."""
        assert len(self._finished) == self.job.num_choices, f"{self._finished = } {self.job.num_choices = }"

    def usage(self) -> Usage:
        """Usage so far."""
        return usage(
            self.job.num_prompt_tokens,
            self._num_output_tokens,
            self._num_cached_tokens,
            self.num_reasoning_tokens,
        )

    @property
    def num_reasoning_tokens(self) -> int:
        """Those of the output that were reasoning."""
        return 0

    def prompt_logprobs(self, prompt: int) -> PromptLogprobs | None:
        """Those of a prompt that the client asked for by name; they come with its first delta."""
        if self.request.prompt_logprobs is None:
            return None
        if prompt not in self._listed:
            scored, num_top = self._scored[prompt], self.request.prompt_logprobs
            self._listed[prompt] = prompt_logprobs(self.tokenizer, scored, num_top)
        return self._listed[prompt]

    @property
    def wants_usage(self) -> bool:
        """True when every chunk has a usage member."""
        return self.request.include_usage or self.request.continuous_usage

    def running_usage(self) -> Usage | None:
        """What the usage member of a chunk says before the end: the totals so far, or null."""
        return self.usage() if self.request.continuous_usage else None
