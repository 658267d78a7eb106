"""`POST /v1/completions`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from redline.protocol.completions import (
    CompletionChoice,
    CompletionLogprobs,
    CompletionRequest,
    CompletionResponse,
)
from redline.protocol.wire import ResponseModel
from redline.server.answer import Answer, Collected
from redline.server.endpoint import GenerationEndpoint
from redline.server.job import Job, sampling_params
from redline.server.logprobs import LogprobLister

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
        return sampling_params(request, max_tokens=request.max_tokens, logprobs=request.logprobs)

    def encode(self, request: CompletionRequest) -> list[list[int]]:
        return [self.engine.encode_prompt(prompt) for prompt in request.prompt]

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
        if delta.finish_reason is not None:
            choice.stop_reason = delta.stop_reason
        if self.request.return_token_ids:
            choice.token_ids = delta.token_ids
            if first:
                choice.prompt_token_ids = self.job.prompts[prompt]
        chunk = self._response([choice])
        if self.wants_usage:
            chunk.usage = self.running_usage()
        return [chunk]

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
        if isinstance(prompt, str):
            return prompt
        return self.tokenizer.decode(prompt, skip_special_tokens=self.request.skip_special_tokens)

    def _logprobs(self, index: int, logprobs: list[TokenLogprob] | None) -> CompletionLogprobs | None:
        if self.request.logprobs is None:
            return None
        lister = self._listers.setdefault(index, LogprobLister(self.tokenizer))
        return lister.add(logprobs or [])
