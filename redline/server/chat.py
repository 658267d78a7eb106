"""`POST /v1/chat/completions`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from redline.errors import RequestError
from redline.protocol.chat import (
    ChatChoice,
    ChatChunk,
    ChatChunkChoice,
    ChatDelta,
    ChatLogprob,
    ChatLogprobs,
    ChatRequest,
    ChatResponse,
    TemplateOptions,
    TopLogprob,
)
from redline.protocol.wire import ResponseModel
from redline.server.answer import TEXT, Answer, Collected, add_scores
from redline.server.chat_formats import ChatFormats
from redline.server.chat_output import ChatOutput, ParsedOutput, PlainOutput
from redline.server.endpoint import GenerationEndpoint
from redline.server.job import Job, check_num_listed, sampling_params
from redline.server.logprobs import finite, id_name
from redline.server.service import Service
from redline.server.spoken import Spoken, spoken
from redline.server.truncation import encode_last, prompt_room

if TYPE_CHECKING:
    from redline.config.sampling import SamplingParams
    from redline.decoding.sampler import TokenLogprob
    from redline.engine.outputs import Delta
    from redline.server.engine import ServedTokenizer


class ChatEndpoint(GenerationEndpoint[ChatRequest]):
    """Conversations through the model's chat template."""

    id_prefix = "chatcmpl-"
    request_type = ChatRequest

    def __init__(self, service: Service) -> None:
        super().__init__(service)
        self.formats = ChatFormats(service)

    def num_prompts(self, request: ChatRequest) -> int:
        return 1

    def params(self, request: ChatRequest) -> SamplingParams:
        self.formats.check_tools(request)
        logprobs = (request.top_logprobs or 0) if request.logprobs else None
        params = sampling_params(
            request,
            max_tokens=request.token_limit,
            logprobs=logprobs,
            prompt_logprobs=request.prompt_logprobs,
        )
        keep = self.formats.of(request).special_tokens(with_tools=bool(request.offered_tools))
        return replace(params, keep_special_tokens=keep) if keep else params

    def encode(self, request: ChatRequest) -> list[list[int]]:
        num_kept = request.num_kept(prompt_room(self.engine, request.token_limit))
        messages, tools = self.formats.shown(request)
        rendered = self.engine.encode_chat if num_kept is None else self.engine.tokenize_chat
        token_ids = rendered(
            messages,
            tools or None,
            request.template_variables,
            add_generation_prompt=request.add_generation_prompt,
            continue_final_message=request.continue_final_message,
        )
        if num_kept is not None:
            token_ids = encode_last(self.engine, token_ids, num_kept)
        check_num_listed([token_ids], 1, request.prompt_logprobs, "prompt_logprobs")
        return [token_ids]

    def answer(self, request: ChatRequest, job: Job) -> Answer[ChatRequest]:
        tokenizer, output_format = self.engine.tokenizer, self.formats.of(request)
        return ChatAnswer(request, job, tokenizer, lambda: spoken(request, job, tokenizer, output_format))

    def rename(self, request: ChatRequest, error: RequestError) -> None:
        """Name the field the client sent, not the one the engine knows."""
        super().rename(request, error)
        if error.param == "prompt":
            error.param = "messages"
        if error.param == "max_tokens" and request.max_completion_tokens is not None:
            error.param = "max_completion_tokens"
        if error.param in TemplateOptions.model_fields:
            error.param = f"chat_template_kwargs.{error.param}"


class ChatAnswer(Answer[ChatRequest]):
    """A role chunk opens each choice, but only once its first token exists."""

    def __init__(
        self, request: ChatRequest, job: Job, tokenizer: ServedTokenizer, speaker: Callable[[], Spoken]
    ) -> None:
        """`speaker` makes what reads the text of one choice."""
        super().__init__(request, job, tokenizer)
        self._opened: set[int] = set()
        said = [speaker() for _ in range(job.num_choices)]
        self._outputs: list[ChatOutput] = [
            PlainOutput() if each.plain else ParsedOutput(each) for each in said
        ]

    def count(self, prompt: int, delta: Delta) -> None:
        super().count(prompt, delta)
        self._outputs[delta.index].add(delta)

    @property
    def num_reasoning_tokens(self) -> int:
        return sum(output.num_reasoning_tokens for output in self._outputs)

    def chunks(self, prompt: int, delta: Delta) -> Sequence[ResponseModel]:
        if delta.index in self._opened:
            part = self._part(delta)
            return [self._chunk(part)] if self._says_something(part) else []
        role = ChatChunkChoice(
            index=delta.index,
            delta=ChatDelta(role="assistant", content=""),
            logprobs=None,
            finish_reason=None,
        )
        opening = self._chunk(role)
        if self.request.return_token_ids and not self._opened:
            opening.prompt_token_ids = self.job.prompts[0]
        if self.request.prompt_logprobs is not None and not self._opened:
            opening.prompt_logprobs = self.prompt_logprobs(0)
        self._opened.add(delta.index)
        return [opening, self._chunk(self._part(delta))]

    def _says_something(self, part: ChatChunkChoice) -> bool:
        """False while the text of a token is held back, and the client wants nothing but text."""
        if part.finish_reason or part.delta.model_fields_set:
            return True
        return bool(self.request.logprobs or self.request.return_token_ids or self.request.continuous_usage)

    def _part(self, delta: Delta) -> ChatChunkChoice:
        output = self._outputs[delta.index]
        part = ChatChunkChoice(
            index=delta.index,
            delta=output.delta(),
            logprobs=self._logprobs(delta.logprobs),
            finish_reason=output.finish_reason(delta.finish_reason),
        )
        if delta.finish_reason is not None:
            part.stop_reason = delta.stop_reason
            add_scores(part, delta)
        if self.request.return_token_ids:
            part.token_ids = delta.token_ids
        return part

    def _chunk(self, *choices: ChatChunkChoice) -> ChatChunk:
        chunk = ChatChunk(
            id=self.job.id,
            object="chat.completion.chunk",
            created=self.job.created,
            model=self.job.model,
            choices=list(choices),
        )
        if self.wants_usage:
            chunk.usage = self.running_usage()
        return chunk

    def text_chunk(self, index: int) -> ResponseModel | None:
        request, output = self.request, self._outputs[index]
        if request.logprobs or request.return_token_ids or request.continuous_usage:
            return None
        if not isinstance(output, PlainOutput):
            return None
        delta = ChatDelta(content=TEXT)
        return self._chunk(ChatChunkChoice(index=index, delta=delta, logprobs=None, finish_reason=None))

    def new_text(self, delta: Delta) -> str:
        return self._outputs[delta.index].delta().content or ""

    def usage_chunk(self) -> ResponseModel:
        chunk = self._chunk()
        chunk.usage = self.usage()
        return chunk

    def response(self, choices: list[Collected]) -> ResponseModel:
        response = ChatResponse(
            id=self.job.id,
            object="chat.completion",
            created=self.job.created,
            model=self.job.model,
            choices=[self._choice(index, choice) for index, choice in enumerate(choices)],
            usage=self.usage(),
        )
        if self.request.return_token_ids:
            response.prompt_token_ids = self.job.prompts[0]
        if self.request.prompt_logprobs is not None:
            response.prompt_logprobs = self.prompt_logprobs(0)
        return response

    def _choice(self, index: int, collected: Collected) -> ChatChoice:
        output = self._outputs[index]
        choice = ChatChoice(
            index=index,
            message=output.message(),
            logprobs=self._logprobs(collected.logprobs),
            finish_reason=output.finish_reason(collected.finish_reason),
            stop_reason=collected.stop_reason,
        )
        add_scores(choice, collected)
        if self.request.return_token_ids:
            choice.token_ids = collected.token_ids
        return choice

    def _logprobs(self, logprobs: list[TokenLogprob] | None) -> ChatLogprobs | None:
        if not self.request.logprobs:
            return None
        return ChatLogprobs(content=[self._logprob(entry) for entry in logprobs or []], refusal=None)

    def _logprob(self, entry: TokenLogprob) -> ChatLogprob:
        chosen = self._top(entry.token_id, entry.logprob)
        top = [self._top(token_id, logprob) for token_id, logprob in entry.top]
        return ChatLogprob(token=chosen.token, logprob=chosen.logprob, bytes=chosen.bytes, top_logprobs=top)

    def _top(self, token_id: int, logprob: float) -> TopLogprob:
        """A token may be part of a character: `bytes` is exact, `token` is for reading."""
        data = self.tokenizer.token_bytes(token_id)
        text = data.decode("utf-8", errors="replace")
        if self.request.return_tokens_as_token_ids:
            text = id_name(token_id)
        return TopLogprob(token=text, logprob=finite(logprob), bytes=list(data))
