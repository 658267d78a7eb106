"""Lease: a request's hold on a model. While there is one the model is not unloaded."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import TYPE_CHECKING, Self

from redline.server.errors import HTTPError

if TYPE_CHECKING:
    from redline.server.pool.hosted_model import HostedModel
    from redline.server.pool.pool import ModelPool


class Lease:
    """Use it in a `with` block, which ends it, granted or not. Models are held from `granted` on."""

    def __init__(self, pool: ModelPool, model: HostedModel, asked_s: float) -> None:
        self.model = model
        self.asked_s = asked_s
        self.granted = False
        self._pool = pool
        self._ended = False
        self._answer: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def wait(self) -> None:
        """Until the model is there. Raises HTTPError when it cannot be loaded."""
        await self._answer

    def grant(self) -> None:
        """The model is there."""
        self.granted = True
        self.model.in_use += 1
        if not self._answer.done():
            self._answer.set_result(None)

    def fail(self, failure: HTTPError) -> None:
        """The model does not come."""
        if not self._answer.done():
            self._answer.set_exception(failure)
            self._answer.exception()  # whoever asked may have left

    def end(self) -> None:
        """The request is over, or waits no more; it may be said again."""
        if not self._ended:
            self._ended = True
            self._pool.ended(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end()
