"""GenerationEndpoint: the way of a request from its bytes to the engine and back."""

from __future__ import annotations

import asyncio
import logging
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from redline.errors import RequestError
from redline.protocol.generation import GenerationRequest
from redline.protocol.wire import RequestModel
from redline.server.answer import Answer, Collected
from redline.server.authentication import caller_of
from redline.server.body import read_json
from redline.server.direct_body import direct_body_of
from redline.server.errors import HTTPError, http_error
from redline.server.job import Job, check_num_choices
from redline.server.keys import ApiKey
from redline.server.readiness import shutting_down
from redline.server.request_log import request_id_of
from redline.server.request_record import record_of
from redline.server.running import ClientGone, Running, Stopping
from redline.server.service import Service
from redline.server.standing import standing
from redline.server.stream import EventStream
from redline.server.structured import rename_form
from redline.server.text_chunks import StreamedEvents
from redline.server.timeouts import start_timeouts
from redline.server.unknown import UnknownNames

if TYPE_CHECKING:
    from redline.config.sampling import SamplingParams
    from redline.engine.outputs import Delta

logger = logging.getLogger("redline.server")

R = TypeVar("R", bound=GenerationRequest)
Deltas = AsyncGenerator[tuple[int, "Delta"], None]


class GenerationEndpoint(ABC, Generic[R]):
    """An ASGI app for one kind of generation. Subclasses say how requests are read and answers written."""

    id_prefix: ClassVar[str]
    request_type: type[R]
    body_type: ClassVar[type[RequestModel] | None] = None  # what clients send, if parse makes a request of it

    def __init__(self, service: Service) -> None:
        self.service = service
        self.engine = service.engine
        self.unknown = UnknownNames()

    @abstractmethod
    def num_prompts(self, request: R) -> int:
        """How many prompts the request has."""

    @abstractmethod
    def params(self, request: R) -> SamplingParams:
        """How its tokens are chosen. Raises RequestError."""

    @abstractmethod
    def encode(self, request: R) -> list[list[int]]:
        """Token ids of its prompts; runs in a worker thread. Raises RequestError."""

    @abstractmethod
    def answer(self, request: R, job: Job) -> Answer[R]:
        """What collects the answer."""

    def open(self, send: Send) -> EventStream:
        """What writes a stream."""
        return EventStream(send)

    def parse(self, data: Any, caller: ApiKey) -> R:
        """The checked request of `caller`. Raises RequestError."""
        request = self.request_type.parse(data)
        self.unknown.report(self.request_type.unknown_names(data))
        return request

    def rename(self, request: R, error: RequestError) -> None:
        """Make an error of the engine name the field of this API."""
        rename_form(request, error)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        events = self.open(send)
        events.direct = direct_body_of(scope)
        try:
            await self._serve(scope, receive, send, events)
        except ClientGone:
            self.service.metrics.client_gone()
        except Stopping:
            await _report(shutting_down(), scope, receive, send, events)
        except Exception as error:  # noqa: BLE001  http_error logs what is not the client's fault
            await _report(http_error(error), scope, receive, send, events)

    async def _serve(self, scope: Scope, receive: Receive, send: Send, events: EventStream) -> None:
        request = await self._read(scope, receive)
        params = self.params(request)
        num_prompts = self.num_prompts(request)
        check_num_choices(num_prompts, params, self.service.config.max_choices)
        async with self.service.running.until_gone(receive) as running:
            with self.service.waiting.enter(num_prompts, caller_of(scope)) as place:
                start_timeouts(running, place, record_of(scope), self.service.config)
                try:
                    prompts = await asyncio.to_thread(self.encode, request)
                    place.weigh([len(prompt) for prompt in prompts])
                    job = self._job(scope, request, prompts, params)
                    async with aclosing(self.service.deltas(job, place)) as deltas:
                        answer = self.answer(request, job)
                        await self._respond(answer, deltas, events, running, (scope, receive, send))
                except RequestError as error:
                    self.rename(request, error)
                    raise

    async def _read(self, scope: Scope, receive: Receive) -> R:
        self.service.check_healthy()
        self.service.waiting.check(1, caller_of(scope))  # before the body: overload must not fill the memory
        data = await read_json(scope, receive, self.service.config.body_timeout_s)
        self.service.check_healthy()  # again: it may have taken long
        request = self.parse(data, caller_of(scope))
        self.service.check_model(request.model)
        return request

    def _job(self, scope: Scope, request: R, prompts: list[list[int]], params: SamplingParams) -> Job:
        record = record_of(scope)
        record.model = request.model
        record.prompt_tokens = sum(len(prompt) for prompt in prompts)
        stands = standing(request, caller_of(scope), self.service)
        job = Job(
            id=self.id_prefix + request_id_of(scope),
            created=int(time.time()),
            model=request.model,
            prompts=prompts,
            params=params,
            cache_salt=stands.cache_salt,
            priority=stands.priority,
            tenant=stands.tenant,
            record=record,
        )
        record.trace.asked(job, stream=request.stream)
        return job

    async def _respond(
        self,
        answer: Answer[R],
        deltas: Deltas,
        events: EventStream,
        running: Running,
        asgi: tuple[Scope, Receive, Send],
    ) -> None:
        if answer.request.stream:
            await _stream(answer, deltas, events, self.service)
        else:
            body = await _collect(answer, deltas, self.service)
            running.take_your_time()  # the answer exists; from here on only the client can be slow
            await Response(body, media_type="application/json")(*asgi)


async def _stream(answer: Answer[R], deltas: Deltas, events: EventStream, service: Service) -> None:
    streamed, job, metrics = StreamedEvents(answer, events.encode), answer.job, service.metrics
    if job.params.prompt_logprobs is not None:
        await _stream_aside(streamed, deltas, events, service)
        await _end(answer, events)
        return

    def take(delta: Delta) -> bool:
        """The same as below, without being woken for it."""
        if delta.finish_reason is not None or not events.direct.ready:
            return False
        job.record.count(delta)
        if body := streamed.of(0, delta):
            events.direct.write(body)
            metrics.written(delta)
        return True

    try:
        async for prompt, delta in deltas:
            if body := streamed.of(prompt, delta):
                await events.write(body)
                metrics.written(delta)
            job.shortcut.take = take
    finally:
        job.shortcut.take = None
    await _end(answer, events)


async def _stream_aside(
    streamed: StreamedEvents[R], deltas: Deltas, events: EventStream, service: Service
) -> None:
    """For chunks that list a whole prompt: making one takes long enough to hold up the streams of others."""
    async for each in deltas:
        if body := await service.aside(lambda pair: streamed.of(*pair), each):
            await events.write(body)
            service.metrics.written(each[1])


async def _end(answer: Answer[R], events: EventStream) -> None:
    answer.check_complete()
    if answer.request.include_usage:
        await events.write(events.encode(answer.usage_chunk()))
    await events.finish()


async def _collect(answer: Answer[R], deltas: Deltas, service: Service) -> str:
    params = answer.job.params
    choices = [Collected() for _ in range(answer.job.num_choices)]
    async for prompt, delta in deltas:
        answer.count(prompt, delta)
        choices[answer.job.choice(prompt, delta)].add(delta)
    answer.check_complete()
    if params.logprobs is None and params.prompt_logprobs is None:
        return answer.response(choices).to_json()
    return await service.aside(lambda all_of_it: answer.response(all_of_it).to_json(), choices)


async def _report(error: HTTPError, scope: Scope, receive: Receive, send: Send, events: EventStream) -> None:
    if events.started:
        await events.fail(error)
    else:
        await error.response()(scope, receive, send)
