"""Answer: turns the deltas of one request into chunks of a stream or into one whole response."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Generic, TypeVar

from redline.protocol.generation import GenerationRequest
from redline.protocol.usage import Usage, usage
from redline.protocol.wire import ResponseModel
from redline.server.engine import ServedTokenizer
from redline.server.job import Job

if TYPE_CHECKING:
    from redline.decoding.sampler import TokenLogprob
    from redline.engine.outputs import Delta

R = TypeVar("R", bound=GenerationRequest)


@dataclass(slots=True)
class Collected:
    """All that has arrived for one choice."""

    text: list[str] = field(default_factory=list)
    token_ids: list[int] = field(default_factory=list)
    logprobs: list[TokenLogprob] = field(default_factory=list)
    finish_reason: str | None = None
    stop_reason: str | int | None = None

    def add(self, delta: Delta) -> None:
        """Append a delta. Every choice ends once."""
        assert self.finish_reason is None, f"{self.finish_reason = } {delta = }"
        self.text.append(delta.text)
        self.token_ids += delta.token_ids
        self.logprobs += delta.logprobs or []
        self.finish_reason = delta.finish_reason
        self.stop_reason = delta.stop_reason


class Answer(ABC, Generic[R]):
    """One request's answer while it grows. Use it for a stream or for a response, not for both."""

    def __init__(self, request: R, job: Job, tokenizer: ServedTokenizer) -> None:
        self.request = request
        self.job = job
        self.tokenizer = tokenizer
        self._num_output_tokens = 0
        self._num_cached_tokens: int | None = None
        self._finished: set[int] = set()

    @abstractmethod
    def chunks(self, prompt: int, delta: Delta) -> list[ResponseModel]:
        """The events of a stream that one delta gives."""

    @abstractmethod
    def usage_chunk(self) -> ResponseModel:
        """The last event of a stream whose client asked for usage."""

    @abstractmethod
    def response(self, choices: list[Collected]) -> ResponseModel:
        """The whole answer to a client that did not ask for a stream."""

    def count(self, prompt: int, delta: Delta) -> None:
        """Keep the totals; each delta is counted once, before it is used."""
        self._num_output_tokens += len(delta.token_ids)
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
        return usage(self.job.num_prompt_tokens, self._num_output_tokens, self._num_cached_tokens)

    @property
    def wants_usage(self) -> bool:
        """True when every chunk has a usage member."""
        return self.request.include_usage or self.request.continuous_usage

    def running_usage(self) -> Usage | None:
        """What the usage member of a chunk says before the end: the totals so far, or null."""
        return self.usage() if self.request.continuous_usage else None
