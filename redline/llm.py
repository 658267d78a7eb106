"""LLM: generate, chat and stream in the calling thread, without a server."""

from __future__ import annotations

import itertools
import weakref
from collections import deque
from collections.abc import Callable
from typing import Any, Self

import numpy as np

from redline.config.pooling import PoolingParams
from redline.config.sampling import SamplingParams
from redline.decoding.structured.constraint import Constraint
from redline.engine.collect import Collector
from redline.engine.inputs import Prompt
from redline.engine.loglikelihood import (
    Score,
    ScoredTokens,
    encode_pair,
    joined,
    rolling_windows,
    score_of,
    start_token_ids,
)
from redline.engine.opened import OpenedModel
from redline.engine.outputs import Delta, EngineStats, RequestOutput
from redline.errors import RequestError
from redline.ops.arrays import F32

Messages = list[dict[str, Any]]
Progress = Callable[[int, int], None]


def _unheard(done: int, total: int) -> None:
    pass


class LLM(OpenedModel):
    """A model, loaded and ready, for offline use.

        llm = LLM("smollm2", max_context=2048)
        [output] = llm.generate(["The capital of France is"], SamplingParams(temperature=0, max_tokens=8))
        print(output.text)

    Keyword options are the fields of EngineConfig. All prompts of one call run together.
    Use it from one thread; AsyncLLM serves many callers.

    Raises ConfigError, ModelError or CapacityError.
    """

    def __init__(self, model: str, *, progress: Progress | None = None, **options: Any) -> None:
        super().__init__(model, progress=progress, **options)
        self._request_ids = itertools.count()
        self._collectors: dict[str, Collector] = {}
        self._streams: dict[str, deque[Delta]] = {}
        self._left: deque[str] = deque()  # streams closed or dropped, to be aborted between steps
        self._end = weakref.finalize(self, self._engine.close)  # at the latest when Python ends

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Keep what is cached in `cache_dir`, if there is one, and let go of it. Nothing can be run after."""
        self._end()

    def generate(
        self,
        prompts: Prompt | list[str] | list[list[int]],
        params: SamplingParams | list[SamplingParams] | None = None,
    ) -> list[RequestOutput]:
        """Complete each prompt (text or token ids); answers come in the order of the prompts.

        Raises RequestError before anything runs when one of the prompts or parameters is wrong.
        """
        batch = _as_batch(prompts)
        encoded = [self._engine.inputs.encode_prompt(prompt) for prompt in batch]
        texts = [prompt if isinstance(prompt, str) else None for prompt in batch]
        return self._run(encoded, texts, _params_for(params, len(batch)))

    def chat(
        self,
        messages: Messages | list[Messages],
        params: SamplingParams | list[SamplingParams] | None = None,
        tools: list[dict[str, Any]] | None = None,
    ) -> list[RequestOutput]:
        """Answer one conversation, or several at once, through the model's chat template.

        `tools` are shown to the model, each as {"type": "function", "function": {"name": ...,
        "description": ..., "parameters": a JSON schema}}. `output_format` finds the calls in the text.
        """
        conversations: list[Any] = [messages]
        if isinstance(messages, list) and messages and isinstance(messages[0], list):
            conversations = messages
        encoded = [self._engine.inputs.encode_chat(conversation, tools) for conversation in conversations]
        return self._run(encoded, [None] * len(encoded), _params_for(params, len(encoded)))

    def embed(self, prompts: Prompt | list[str] | list[list[int]]) -> F32:
        """A vector of length 1 for each prompt, [N, D] float32: the mean of its final hidden states.

        The same bits alone and in any batch. Raises RequestError before anything runs when a prompt is wrong.
        """
        outputs = self.generate(prompts, PoolingParams())
        vectors_ND = np.zeros((len(outputs), self.embedding_size), np.float32)
        for row_D, output in zip(vectors_ND, outputs, strict=True):
            row_D[:] = output.embedding
        return vectors_ND

    def loglikelihood(
        self, pairs: list[tuple[Prompt, Prompt]], *, progress: Progress | None = None
    ) -> list[Score]:
        """How likely each continuation is after its context; `pairs` are (context, continuation).

        Both are texts, or both token ids. A context that several share is computed once while the prefix
        cache is on. An empty one stands for the beginning of a text. Pairs are cut into tokens as
        lm-evaluation-harness does it. `progress` hears (pairs done, pairs in all). Raises RequestError before
        anything runs when one of them is wrong.
        """
        return self._score([encode_pair(self.tokenizer, *pair) for pair in _as_pairs(pairs)], progress)

    def loglikelihood_rolling(
        self, texts: str | list[str], *, progress: Progress | None = None
    ) -> list[Score]:
        """How likely each text is, from its first token on: `.perplexity` has what is usually reported.

        A text that is longer than the context is cut into windows, in each of which the model begins anew;
        `progress` hears (windows done, windows in all). Raises RequestError.
        """
        start_ids = start_token_ids(self.tokenizer)
        windows = [
            list(rolling_windows(self._encode_text(text), start_ids, self.max_context))
            for text in _as_batch(texts)
        ]
        scores = iter(self._score([window for each in windows for window in each], progress))
        return [joined([next(scores) for _ in each]) for each in windows]

    def _encode_text(self, text: Prompt) -> list[int]:
        token_ids = self.tokenizer.encode(text, False) if isinstance(text, str) else list(text)
        if not token_ids:
            raise RequestError("the text is empty; there is nothing to score", param="texts")
        return token_ids

    def _score(self, parts: list[ScoredTokens], progress: Progress | None) -> list[Score]:
        encoded = [self._engine.inputs.encode_prompt(part.token_ids) for part in parts]
        params = [
            SamplingParams(max_tokens=0, prompt_logprobs=0, logprob_start_len=part.start) for part in parts
        ]
        outputs = self._run(encoded, [None] * len(parts), params, progress or _unheard)
        return [score_of(output, part.start) for output, part in zip(outputs, parts, strict=True)]

    def stream(self, prompt: Prompt | Messages, params: SamplingParams | None = None) -> Stream:
        """The answer to one prompt, or to one list of chat messages, as it is produced.

        Several streams may be read in turn; they share steps. Closing or dropping one aborts its request.
        Raises RequestError, CapacityError or QueueFull.
        """
        token_ids = self._encode(prompt)
        request_id = self._next_id()
        params = SamplingParams() if params is None else params
        self._engine.add(request_id, token_ids, params)
        pending = self._streams[request_id] = deque()
        return Stream(request_id, pending, self._step, self._left)

    def _encode(self, prompt: Prompt | Messages) -> list[int]:
        if isinstance(prompt, list) and prompt and isinstance(prompt[0], dict):
            return self._engine.inputs.encode_chat(prompt)
        return self._engine.inputs.encode_prompt(prompt)  # type: ignore[arg-type]

    def _run(
        self,
        encoded: list[list[int]],
        texts: list[str | None],
        params: list[SamplingParams],
        progress: Progress = _unheard,
    ) -> list[RequestOutput]:
        for token_ids, each in zip(encoded, params, strict=True):
            self._engine.inputs.check_params(token_ids, each)
        constraints = [self._engine.structured.constraint(each) for each in params]
        collectors: dict[str, Collector] = {}
        try:
            work = zip(encoded, texts, params, constraints, strict=True)
            for token_ids, text, each, constraint in work:
                request_id = self._next_id()
                self._add_when_there_is_room(request_id, token_ids, each, constraint)
                collectors[request_id] = self._collectors[request_id] = Collector(request_id, text, token_ids)
            while (num_done := sum(each.done for each in collectors.values())) < len(collectors):
                progress(num_done, len(collectors))
                self._step()
            return [collector.output() for collector in collectors.values()]
        finally:
            for request_id in collectors:
                del self._collectors[request_id]
                self._engine.abort(request_id)

    def _add_when_there_is_room(
        self, request_id: str, token_ids: list[int], params: SamplingParams, constraint: Constraint
    ) -> None:
        """An offline batch may be longer than the waiting queue: run steps until the next one fits."""
        while self._engine.scheduler.num_waiting >= self.config.max_waiting:
            self._step()
        self._engine.add(request_id, token_ids, params, constraint=constraint)

    def stats(self) -> EngineStats:
        """Gauges and counters of the engine."""
        self._abort_left()
        return super().stats()

    def _abort_left(self) -> None:
        while self._left:
            request_id = self._left.popleft()
            if self._streams.pop(request_id, None) is not None:
                self._engine.abort(request_id)

    def _step(self) -> None:
        self._abort_left()
        if self._engine.idle_for_s() is not None:
            self._engine.flush()  # nobody else adds requests while this thread is in here
        for delta in self._engine.step():
            if delta.request_id in self._collectors:
                self._collectors[delta.request_id].add(delta)
            elif delta.request_id in self._streams:
                self._streams[delta.request_id].append(delta)

    def _next_id(self) -> str:
        return f"llm-{next(self._request_ids)}"


class Stream:
    """Iterator over the deltas of one running request."""

    def __init__(
        self, request_id: str, pending: deque[Delta], step: Callable[[], None], left: deque[str]
    ) -> None:
        self._request_id = request_id
        self._pending = pending
        self._step = step
        self._left = left
        self._done = False

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Delta:
        """The next delta; runs steps until there is one. Raises what ended the request early."""
        if self._done:
            raise StopIteration
        while not self._pending:
            self._step()
        delta = self._pending.popleft()
        if delta.last:
            self.close()
        if delta.error is not None:
            raise delta.error
        return delta

    def close(self) -> None:
        """Abort the request if it still runs, at the latest before the next step.

        Not at once: a dropped stream may be collected in the middle of a step, or in another thread.
        """
        if not self._done:
            self._done = True
            self._left.append(self._request_id)

    def __del__(self) -> None:
        self.close()


def _as_batch(prompts: Any) -> list[Prompt]:
    """One prompt or many: a string is one, a list of integers is one, any other list is many."""
    if isinstance(prompts, str):
        return [prompts]
    if not isinstance(prompts, list | tuple):
        raise RequestError(
            f"prompts is {type(prompts).__name__}; it must be text, token ids, or a list of either",
            param="prompt",
        )
    if prompts and isinstance(prompts[0], int):
        return [list(prompts)]
    return list(prompts)


def _as_pairs(pairs: Any) -> list[tuple[Prompt, Prompt]]:
    if not isinstance(pairs, list | tuple):
        raise RequestError(
            f"pairs is {type(pairs).__name__}; it must be a list of (context, continuation)", param="pairs"
        )
    for place, pair in enumerate(pairs):
        if not isinstance(pair, list | tuple) or len(pair) != 2:
            raise RequestError(
                f"pairs[{place}] is {pair!r:.80}; it must be (context, continuation)", param="pairs"
            )
    return [(context, continuation) for context, continuation in pairs]


def _params_for(params: SamplingParams | list[SamplingParams] | None, count: int) -> list[SamplingParams]:
    if params is None:
        return [SamplingParams()] * count
    if isinstance(params, SamplingParams):
        return [params] * count
    if not isinstance(params, list | tuple):
        raise RequestError(
            f"params is {params!r:.80}; it must be SamplingParams or a list of them", param="params"
        )
    if len(params) != count:
        raise RequestError(
            f"there are {count} prompts but {len(params)} SamplingParams; give one for all or one for each",
            param="params",
        )
    return list(params)
