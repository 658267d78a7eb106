"""GenerationEndpoint: the way of a request from its bytes to the engine and back."""

from __future__ import annotations

import asyncio
import logging
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import TYPE_CHECKING, ClassVar, Generic, TypeVar

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from redline.errors import RequestError
from redline.protocol.generation import GenerationRequest
from redline.server.answer import Answer, Collected
from redline.server.body import read_json
from redline.server.errors import RETRY_AFTER, HTTPError, http_error
from redline.server.job import Job, check_num_choices
from redline.server.request_log import request_id_of
from redline.server.running import ClientGone, Stopping
from redline.server.service import Service
from redline.server.stream import EventStream
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

    def __init__(self, service: Service) -> None:
        self.service = service
        self.engine = service.engine
        self._unknown = UnknownNames()

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

    def rename(self, request: R, error: RequestError) -> None:
        """Make an error of the engine name the field of this API."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        events = EventStream(send)
        try:
            await self._serve(scope, receive, send, events)
        except ClientGone:
            self.service.metrics.client_gone()
        except Stopping:
            error = HTTPError(503, "the server is shutting down", code="shutting_down", headers=RETRY_AFTER)
            await _report(error, scope, receive, send, events)
        except Exception as error:  # noqa: BLE001  http_error logs what is not the client's fault
            await _report(http_error(error), scope, receive, send, events)

    async def _serve(self, scope: Scope, receive: Receive, send: Send, events: EventStream) -> None:
        request = await self._read(scope, receive)
        params = self.params(request)
        num_prompts = self.num_prompts(request)
        check_num_choices(num_prompts, params.n, self.service.config.max_choices)
        async with self.service.running.until_gone(receive):
            with self.service.waiting.enter(num_prompts) as place:
                try:
                    prompts = await asyncio.to_thread(self.encode, request)
                    job = self._job(scope, request, prompts, params)
                    async with aclosing(self.service.deltas(job, place)) as deltas:
                        await self._respond(self.answer(request, job), deltas, events, (scope, receive, send))
                except RequestError as error:
                    self.rename(request, error)
                    raise

    async def _read(self, scope: Scope, receive: Receive) -> R:
        self.service.check_healthy()
        self.service.waiting.check(1)  # before the body: overload must not fill the memory
        data = await read_json(scope, receive, self.service.config.body_timeout_s)
        request = self.request_type.parse(data)
        self._unknown.report(self.request_type.unknown_names(data))
        self.service.check_model(request.model)
        return request

    def _job(self, scope: Scope, request: R, prompts: list[list[int]], params: SamplingParams) -> Job:
        return Job(
            id=self.id_prefix + request_id_of(scope),
            created=int(time.time()),
            model=request.model,
            prompts=prompts,
            params=params,
            cache_salt=request.cache_salt or "",
        )

    async def _respond(
        self, answer: Answer[R], deltas: Deltas, events: EventStream, asgi: tuple[Scope, Receive, Send]
    ) -> None:
        if answer.request.stream:
            await _stream(answer, deltas, events)
        else:
            body = await _collect(answer, deltas)
            await Response(body, media_type="application/json")(*asgi)


async def _stream(answer: Answer[R], deltas: Deltas, events: EventStream) -> None:
    async for prompt, delta in deltas:
        answer.count(prompt, delta)
        await events.write(answer.chunks(prompt, delta))
    answer.check_complete()
    if answer.request.include_usage:
        await events.write([answer.usage_chunk()])
    await events.finish()


async def _collect(answer: Answer[R], deltas: Deltas) -> str:
    choices = [Collected() for _ in range(answer.job.num_choices)]
    async for prompt, delta in deltas:
        answer.count(prompt, delta)
        choices[answer.job.choice(prompt, delta)].add(delta)
    answer.check_complete()
    return answer.response(choices).to_json()


async def _report(error: HTTPError, scope: Scope, receive: Receive, send: Send, events: EventStream) -> None:
    if events.started:
        await events.fail(error)
    else:
        await error.response()(scope, receive, send)
