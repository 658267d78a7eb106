"""`POST /v1/chat/completions`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from redline.errors import RequestError
from redline.protocol.chat import (
    AssistantMessage,
    ChatChoice,
    ChatChunk,
    ChatChunkChoice,
    ChatDelta,
    ChatLogprob,
    ChatLogprobs,
    ChatRequest,
    ChatResponse,
    TopLogprob,
)
from redline.protocol.wire import ResponseModel
from redline.server.answer import Answer, Collected
from redline.server.endpoint import GenerationEndpoint
from redline.server.job import Job, sampling_params
from redline.server.logprobs import finite

if TYPE_CHECKING:
    from redline.config.sampling import SamplingParams
    from redline.decoding.sampler import TokenLogprob
    from redline.engine.outputs import Delta
    from redline.server.engine import ServedTokenizer


class ChatEndpoint(GenerationEndpoint[ChatRequest]):
    """Conversations through the model's chat template."""

    id_prefix = "chatcmpl-"
    request_type = ChatRequest

    def num_prompts(self, request: ChatRequest) -> int:
        return 1

    def params(self, request: ChatRequest) -> SamplingParams:
        logprobs = (request.top_logprobs or 0) if request.logprobs else None
        return sampling_params(request, max_tokens=request.token_limit, logprobs=logprobs)

    def encode(self, request: ChatRequest) -> list[list[int]]:
        return [self.engine.encode_chat([message.for_template() for message in request.messages])]

    def answer(self, request: ChatRequest, job: Job) -> ChatAnswer:
        return ChatAnswer(request, job, self.engine.tokenizer)

    def rename(self, request: ChatRequest, error: RequestError) -> None:
        """Name the field the client sent, not the one the engine knows."""
        if error.param == "prompt":
            error.param = "messages"
        if error.param == "max_tokens" and request.max_completion_tokens is not None:
            error.param = "max_completion_tokens"


class ChatAnswer(Answer[ChatRequest]):
    """A role chunk opens each choice, but only once its first token exists."""

    def __init__(self, request: ChatRequest, job: Job, tokenizer: ServedTokenizer) -> None:
        super().__init__(request, job, tokenizer)
        self._opened: set[int] = set()

    def chunks(self, prompt: int, delta: Delta) -> list[ResponseModel]:
        if delta.index in self._opened:
            return [self._chunk(self._part(delta))]
        role = ChatChunkChoice(
            index=delta.index,
            delta=ChatDelta(role="assistant", content=""),
            logprobs=None,
            finish_reason=None,
        )
        opening = self._chunk(role)
        if self.request.return_token_ids and not self._opened:
            opening.prompt_token_ids = self.job.prompts[0]
        self._opened.add(delta.index)
        return [opening, self._chunk(self._part(delta))]

    def _part(self, delta: Delta) -> ChatChunkChoice:
        part = ChatChunkChoice(
            index=delta.index,
            delta=ChatDelta(content=delta.text) if delta.text or not delta.finish_reason else ChatDelta(),
            logprobs=self._logprobs(delta.logprobs),
            finish_reason=delta.finish_reason,
        )
        if delta.finish_reason is not None:
            part.stop_reason = delta.stop_reason
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
        return response

    def _choice(self, index: int, collected: Collected) -> ChatChoice:
        message = AssistantMessage(role="assistant", content="".join(collected.text), refusal=None)
        choice = ChatChoice(
            index=index,
            message=message,
            logprobs=self._logprobs(collected.logprobs),
            finish_reason=collected.finish_reason,
            stop_reason=collected.stop_reason,
        )
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
        return TopLogprob(token=text, logprob=finite(logprob), bytes=list(data))
