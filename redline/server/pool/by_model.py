"""ByModel: hands a request to the endpoint of the model that it names, once that model is there."""

from __future__ import annotations

from abc import ABC, abstractmethod

from starlette.requests import Request
from starlette.types import Message, Receive, Scope, Send

from redline.errors import RequestError
from redline.protocol.named import NamedRequest
from redline.protocol.wire import RequestModel, parse_json
from redline.server.authentication import caller_of
from redline.server.body import read_body
from redline.server.errors import http_error
from redline.server.pool.lease import Lease
from redline.server.pool.pool import ModelPool
from redline.server.readiness import shutting_down
from redline.server.request_record import record_of
from redline.server.running import ClientGone, Stopping
from redline.server.timeouts import start_timeouts
from redline.server.tokenization import check_info_is_on


class ByModel(ABC):
    """An ASGI app for one route. It knows of a request no more than the model's name."""

    def __init__(self, pool: ModelPool, path: str, body_type: type[RequestModel] | None = None) -> None:
        """`body_type`: what clients send there."""
        self.pool = pool
        self.body_type = body_type
        self._path = path

    @abstractmethod
    async def name_of(self, scope: Scope, receive: Receive) -> tuple[str, Receive]:
        """The model that a request names, and what it is read from once more. Raises what reading raises."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            lease, again = await self._lease(scope, receive)
        except ClientGone:
            return
        except Stopping:
            await shutting_down().response()(scope, receive, send)
            return
        except Exception as error:  # noqa: BLE001  http_error logs what is not the client's fault
            await http_error(error).response()(scope, receive, send)
            return
        with lease:
            await lease.model.app(self._path)(scope, again, send)

    async def _lease(self, scope: Scope, receive: Receive) -> tuple[Lease, Receive]:
        """A hold on the model, which is there."""
        self.pool.check_healthy()
        self.pool.check_room(caller_of(scope))
        name, again = await self.name_of(scope, receive)
        self.pool.check_healthy()  # again: it may have taken long
        model = self.pool.find(name)
        record_of(scope).model = name
        lease = self.pool.ask(model)
        try:
            if not lease.granted:
                await self._wait(lease, scope, receive)
        except BaseException:
            lease.end()
            raise
        return lease, again

    async def _wait(self, lease: Lease, scope: Scope, receive: Receive) -> None:
        """In the model's own queue, as one prompt, until it is there. It leaves the queue as the last thing:
        the endpoint takes a place before anything else can run."""
        service, record = lease.model.service, record_of(scope)
        asked_s = record.elapsed_s()
        with service.waiting.enter(1, caller_of(scope)) as place:
            try:
                async with self.pool.running.until_gone(receive) as running:
                    start_timeouts(running, place, record, service.config)
                    await lease.wait()
                    record.load_wait_s = record.elapsed_s() - asked_s
            except ClientGone:
                service.metrics.client_gone()
                raise


class NamedInBody(ByModel):
    """POST: the name is in the JSON, which the endpoint reads again."""

    async def name_of(self, scope: Scope, receive: Receive) -> tuple[str, Receive]:
        body = await read_body(scope, receive, self.pool.server_config.body_timeout_s)
        return NamedRequest.parse(parse_json(body)).model, _once_more(body, receive)


class TokenizerInfo(ByModel):
    """GET: the name is in the query. Where it is off no model is loaded to say so."""

    async def name_of(self, scope: Scope, receive: Receive) -> tuple[str, Receive]:
        check_info_is_on(self.pool.server_config)
        name = Request(scope).query_params.get("model")
        if name is None:
            raise RequestError("model is missing; name it in the query, as ?model=NAME", param="model")
        return name, receive


def _once_more(body: bytes, receive: Receive) -> Receive:
    """What gives `body` first, and then what comes. It keeps nothing of what it gave: requests are long."""
    unread = [body]
    del body

    async def receive_again() -> Message:
        if unread:
            return {"type": "http.request", "body": unread.pop(), "more_body": False}
        return await receive()

    return receive_again
