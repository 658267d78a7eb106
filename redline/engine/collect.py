"""Collector: put the deltas of one request back together into a RequestOutput."""

from __future__ import annotations

from redline.engine.outputs import Choice, Delta, PromptLogprobs, RequestMetrics, RequestOutput
from redline.errors import RedlineError
from redline.ops.arrays import F32


class Collector:
    """Gathers deltas until the last one; `output()` then is the whole answer."""

    def __init__(self, request_id: str, prompt: str | None, prompt_token_ids: list[int]) -> None:
        self.error: RedlineError | None = None
        self._request_id = request_id
        self._prompt = prompt
        self._prompt_token_ids = prompt_token_ids
        self._choices: dict[int, Choice] = {}
        self._metrics: RequestMetrics | None = None
        self._prompt_logprobs: PromptLogprobs | None = None
        self._embedding: F32 | None = None

    def add(self, delta: Delta) -> None:
        """Take the next delta of this request."""
        self.error = delta.error
        if delta.error is not None:
            return
        choice = self._choices.setdefault(delta.index, Choice(index=delta.index))
        choice.text += delta.text
        choice.token_ids += delta.token_ids
        if delta.logprobs is not None:
            choice.logprobs = (choice.logprobs or []) + delta.logprobs
        if delta.finish_reason is not None:
            choice.finish_reason, choice.stop_reason = delta.finish_reason, delta.stop_reason
            choice.cumulative_logprob, choice.score = delta.cumulative_logprob, delta.score
        if delta.prompt_logprobs is not None:
            self._prompt_logprobs = delta.prompt_logprobs
        self._metrics, self._embedding = delta.metrics, delta.embedding

    @property
    def done(self) -> bool:
        return self._metrics is not None or self.error is not None

    def output(self) -> RequestOutput:
        """The finished request. Raises the error that ended it, if one did."""
        if self.error is not None:
            raise self.error
        assert self._metrics is not None, "output() before the last delta"
        return RequestOutput(
            request_id=self._request_id,
            prompt=self._prompt,
            prompt_token_ids=self._prompt_token_ids,
            choices=[self._choices[index] for index in sorted(self._choices)],
            metrics=self._metrics,
            prompt_logprobs=self._prompt_logprobs,
            embedding=self._embedding,
        )
