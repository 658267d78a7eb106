"""merge: several streams of one request as a single one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from typing import TypeVar, cast

T = TypeVar("T")


async def merge(streams: Sequence[AsyncIterator[T]]) -> AsyncGenerator[tuple[int, T], None]:
    """Items of all streams as they come, each with the number of its stream.

    The streams are async generators. All are closed before this one ends, also when it is closed early;
    the first failure of one ends them all and is raised.
    """
    if len(streams) == 1:  # most requests: without a task and a queue between
        async with aclosing(cast(AsyncGenerator[T, None], streams[0])) as only:
            async for each in only:
                yield 0, each
        return
    queue: asyncio.Queue[tuple[int, T] | Exception | None] = asyncio.Queue()
    tasks = [asyncio.create_task(_pump(number, stream, queue)) for number, stream in enumerate(streams)]
    try:
        num_open = len(tasks)
        while num_open:
            item = await queue.get()
            if isinstance(item, Exception):
                raise item
            if item is None:
                num_open -= 1
            else:
                yield item
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _pump(
    number: int, stream: AsyncIterator[T], queue: asyncio.Queue[tuple[int, T] | Exception | None]
) -> None:
    try:
        async with aclosing(cast(AsyncGenerator[T, None], stream)):
            async for item in stream:
                queue.put_nowait((number, item))
        queue.put_nowait(None)
    except Exception as error:  # noqa: BLE001  handed to the reader, who raises it
        queue.put_nowait(error)
