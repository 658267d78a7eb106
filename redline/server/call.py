"""CallEndpoint: the way of a request whose answer is one JSON object and no generation."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Generic, TypeVar

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from redline.errors import RequestError
from redline.protocol.wire import RequestModel
from redline.server.authentication import caller_of
from redline.server.body import read_json
from redline.server.errors import http_error
from redline.server.readiness import shutting_down
from redline.server.request_record import record_of
from redline.server.running import ClientGone, Stopping
from redline.server.service import Service
from redline.server.timeouts import start_timeouts
from redline.server.unknown import UnknownNames
from redline.server.waiting import Place

R = TypeVar("R", bound=RequestModel)


class CallEndpoint(ABC, Generic[R]):
    """An ASGI app. While its requests wait they have places in the waiting room like any others."""

    request_type: type[R]

    def __init__(self, service: Service) -> None:
        self.service = service
        self.engine = service.engine
        self._unknown = UnknownNames()

    @abstractmethod
    def model_of(self, request: R) -> str | None:
        """The model it names; None: it need not name one."""

    def num_places(self, request: R) -> int:
        """How many prompts it waits with."""
        return 1

    @abstractmethod
    async def respond(self, scope: Scope, request: R, place: Place) -> bytes | str:
        """JSON. Raises RequestError and what the engine raises."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            response = Response(await self._body(scope, receive), media_type="application/json")
        except ClientGone:
            self.service.metrics.client_gone()
            return
        except Stopping:
            response = shutting_down().response()
        except Exception as error:  # noqa: BLE001  http_error logs what is not the client's fault
            response = http_error(error).response()
        await response(scope, receive, send)

    async def _body(self, scope: Scope, receive: Receive) -> bytes | str:
        request = await self._read(scope, receive)
        async with self.service.running.until_gone(receive) as running:
            with self.service.waiting.enter(self.num_places(request), caller_of(scope)) as place:
                start_timeouts(running, place, record_of(scope), self.service.config)
                return await self.respond(scope, request, place)

    async def _read(self, scope: Scope, receive: Receive) -> R:
        self.service.check_healthy()
        self.service.waiting.check(1, caller_of(scope))  # before the body: overload must not fill the memory
        data = await read_json(scope, receive, self.service.config.body_timeout_s)
        self.service.check_healthy()  # again: it may have taken long
        request = self.request_type.parse(data)
        self._unknown.report(self.request_type.unknown_names(data))
        if (name := self.model_of(request)) is not None:
            self.service.check_model(name)
            record_of(scope).model = name
        return request


class ComputeEndpoint(CallEndpoint[R]):
    """Answers without the engine. All of them compute in one thread: long texts hold up only each other."""

    @abstractmethod
    def answer(self, request: R) -> bytes | str:
        """JSON; runs in that thread. Raises RequestError."""

    async def respond(self, scope: Scope, request: R, place: Place) -> bytes | str:
        return await self.service.aside(self.answer, request)


def check_known(tokens: list[int], vocab_size: int, param: str) -> None:
    """Raises RequestError for an id beyond the vocabulary."""
    highest = max(tokens, default=0)
    if highest >= vocab_size:
        raise RequestError(
            f"{param} has token id {highest}; ids lie between 0 and {vocab_size - 1}", param=param
        )
