"""An LLM without a model: it repeats the prompt's words, so that the verbs are tested in milliseconds."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from redline.config.sampling import SamplingParams
from redline.engine.loglikelihood import Score
from redline.engine.outputs import Choice, Delta, RequestMetrics, RequestOutput
from redline.errors import ContextLengthError

METRICS = RequestMetrics(
    arrival_s=0.0, queue_s=0.001, ttft_s=0.02, tpot_s=0.01, itl_s=[0.01], e2e_s=0.05,
    num_prompt_tokens=5, num_output_tokens=4, num_cached_tokens=2,
)  # fmt: skip


class FakeLLM:
    """Answers "you said: ..." word by word. `max_messages` is the size of its context."""

    chat_template: object | None = "template"
    max_messages = 99
    max_context = 64

    def __init__(self) -> None:
        self.prompts: list[Any] = []
        self.params: list[SamplingParams] = []

    def stream(self, prompt: Any, params: SamplingParams) -> Iterator[Delta]:
        self._note(prompt, params)
        words = self._answer(prompt).split(" ")
        for place, word in enumerate(words):
            metrics = METRICS if place == len(words) - 1 else None
            yield Delta(request_id="r", text=word if place == 0 else f" {word}", metrics=metrics)

    def generate(self, prompt: str, params: SamplingParams) -> list[RequestOutput]:
        self._note(prompt, params)
        choices = [Choice(index=i, text=self._answer(prompt), token_ids=[7]) for i in range(params.n)]
        return [
            RequestOutput(
                request_id="r", prompt=prompt, prompt_token_ids=[1, 2], choices=choices, metrics=METRICS
            )
        ]

    def chat(self, messages: list[dict[str, Any]], params: SamplingParams) -> list[RequestOutput]:
        return self.generate(messages, params)  # type: ignore[arg-type]

    def loglikelihood_rolling(self, text: str, progress: Any = None) -> list[Score]:
        """Each character is a token with one chance in four."""
        progress(0, 1)
        ids = [ord(character) for character in text]
        return [Score(token_ids=ids, token_logprobs=[math.log(0.25)] * len(ids), is_greedy=False)]

    def _note(self, prompt: Any, params: SamplingParams) -> None:
        if isinstance(prompt, list) and len(prompt) > self.max_messages:
            raise ContextLengthError("too long", param="messages")
        self.prompts.append(list(prompt) if isinstance(prompt, list) else prompt)
        self.params.append(params)

    def _answer(self, prompt: Any) -> str:
        return f"you said: {prompt if isinstance(prompt, str) else prompt[-1]['content']}"
