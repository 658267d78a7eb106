"""`POST /v1/completions`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from redline.protocol.completions import (
    CompletionChoice,
    CompletionLogprobs,
    CompletionRequest,
    CompletionResponse,
)
from redline.protocol.wire import ResponseModel
from redline.server.answer import TEXT, Answer, Collected, add_scores
from redline.server.endpoint import GenerationEndpoint
from redline.server.infill import infill_prompt
from redline.server.job import Job, check_num_listed, sampling_params
from redline.server.logprobs import LogprobLister
from redline.server.truncation import encode_last, prompt_room

if TYPE_CHECKING:
    from redline.config.sampling import SamplingParams
    from redline.decoding.sampler import TokenLogprob
    from redline.engine.outputs import Delta
    from redline.server.engine import ServedTokenizer


class CompletionEndpoint(GenerationEndpoint[CompletionRequest]):
    """Plain text or token ids in, text out."""

    id_prefix = "cmpl-"
    request_type = CompletionRequest

    def num_prompts(self, request: CompletionRequest) -> int:
        return len(request.prompt)

    def params(self, request: CompletionRequest) -> SamplingParams:
        return sampling_params(
            request,
            max_tokens=request.max_tokens,
            logprobs=request.logprobs,
            prompt_logprobs=request.wanted_prompt_logprobs,
        )

    def encode(self, request: CompletionRequest) -> list[list[int]]:
        prompts: Sequence[str | list[int]] = request.prompt
        if request.suffix:
            tokenizer = self.engine.tokenizer
            prompts = [infill_prompt(tokenizer, prompt, request.suffix) for prompt in prompts]
        num_kept = request.num_kept(prompt_room(self.engine, request.max_tokens))
        encoded = [encode_last(self.engine, prompt, num_kept) for prompt in prompts]
        param = "logprobs" if request.prompt_logprobs is None else "prompt_logprobs"
        check_num_listed(encoded, request.n, request.wanted_prompt_logprobs, param)  # in every choice
        return encoded

    def answer(self, request: CompletionRequest, job: Job) -> CompletionAnswer:
        return CompletionAnswer(request, job, self.engine.tokenizer)


class CompletionAnswer(Answer[CompletionRequest]):
    """Chunks and whole responses have the same shape. With `echo` each choice starts with its prompt."""

    def __init__(self, request: CompletionRequest, job: Job, tokenizer: ServedTokenizer) -> None:
        super().__init__(request, job, tokenizer)
        self._opened: set[int] = set()
        self._listers: dict[int, LogprobLister] = {}

    def chunks(self, prompt: int, delta: Delta) -> list[ResponseModel]:
        index = self.job.choice(prompt, delta)
        first = index not in self._opened
        self._opened.add(index)
        choice = CompletionChoice(
            index=index,
            text=self._echoed(prompt) + delta.text if first else delta.text,
            logprobs=self._logprobs(index, delta.logprobs),
            finish_reason=delta.finish_reason,
        )
        if first and self.request.prompt_logprobs is not None:
            choice.prompt_logprobs = self.prompt_logprobs(prompt)
        if delta.finish_reason is not None:
            choice.stop_reason = delta.stop_reason
            add_scores(choice, delta)
        if self.request.return_token_ids:
            choice.token_ids = delta.token_ids
            if first:
                choice.prompt_token_ids = self.job.prompts[prompt]
        chunk = self._response([choice])
        if self.wants_usage:
            chunk.usage = self.running_usage()
        return [chunk]

    def text_chunk(self, index: int) -> ResponseModel | None:
        request = self.request
        if request.logprobs is not None or request.return_token_ids or request.continuous_usage:
            return None
        chunk = self._response([CompletionChoice(index=index, text=TEXT, logprobs=None, finish_reason=None)])
        if self.wants_usage:
            chunk.usage = None
        return chunk

    def usage_chunk(self) -> ResponseModel:
        chunk = self._response([])
        chunk.usage = self.usage()
        return chunk

    def response(self, choices: list[Collected]) -> ResponseModel:
        response = self._response([self._choice(index, choice) for index, choice in enumerate(choices)])
        response.usage = self.usage()
        return response

    def _choice(self, index: int, collected: Collected) -> CompletionChoice:
        prompt = index // self.job.params.n
        choice = CompletionChoice(
            index=index,
            text=self._echoed(prompt) + "".join(collected.text),
            logprobs=self._logprobs(index, collected.logprobs),
            finish_reason=collected.finish_reason,
            stop_reason=collected.stop_reason,
        )
        add_scores(choice, collected)
        if self.request.prompt_logprobs is not None:
            choice.prompt_logprobs = self.prompt_logprobs(prompt)
        if self.request.return_token_ids:
            choice.token_ids = collected.token_ids
            choice.prompt_token_ids = self.job.prompts[prompt]
        return choice

    def _response(self, choices: list[CompletionChoice]) -> CompletionResponse:
        return CompletionResponse(
            id=self.job.id,
            object="text_completion",
            created=self.job.created,
            model=self.job.model,
            choices=choices,
        )

    def _echoed(self, number: int) -> str:
        if not self.request.echo:
            return ""
        prompt = self.request.prompt[number]
        if isinstance(prompt, str) and self.request.truncate_prompt_tokens is None:
            return prompt
        token_ids = self.job.prompts[number]
        return self.tokenizer.decode(token_ids, skip_special_tokens=self.request.skip_special_tokens)

    def _logprobs(self, index: int, logprobs: list[TokenLogprob] | None) -> CompletionLogprobs | None:
        if self.request.logprobs is None:
            return None
        entries: list[tuple[int, TokenLogprob | None]] = [(entry.token_id, entry) for entry in logprobs or []]
        lister = self._listers.get(index)
        if lister is None:
            return self._first_logprobs(index, self.request.logprobs, entries)
        return lister.add(entries)

    def _first_logprobs(
        self, index: int, num_top: int, entries: list[tuple[int, TokenLogprob | None]]
    ) -> CompletionLogprobs:
        """With those of the prompt, if the choice begins with it."""
        prompt = index // self.job.params.n
        echoed = self.job.prompts[prompt] if self.request.echo else []
        text = self._echoed(prompt)
        as_ids = self.request.return_tokens_as_token_ids
        lister = LogprobLister(self.tokenizer, num_top, (echoed, text), as_ids=as_ids)
        self._listers[index] = lister
        scored = zip(echoed, self._scored[prompt], strict=True) if echoed else ()
        return lister.add([*scored, *entries])
