"""AsyncLLM: many callers, one engine. The engine runs in a thread of its own; callers await deltas."""

from __future__ import annotations

import asyncio
import itertools
import logging
import queue
import secrets
import threading
from collections.abc import AsyncGenerator, Callable
from typing import Any, Self

from redline.config.sampling import SamplingParams
from redline.engine.inputs import Prompt
from redline.engine.opened import OpenedModel
from redline.engine.outputs import Delta
from redline.engine.request import RequestOptions
from redline.errors import EngineDead, QueueFull, RedlineError, RequestError

logger = logging.getLogger("redline.engine")

SERVING_STEP_S = 0.015  # default of step_time here, where anyone may arrive at any time
PERSIST_PAUSE_S = 0.005  # between two handfuls of blocks, which a disk has to take


class AsyncLLM(OpenedModel):
    """A loaded model that serves any number of concurrent asyncio tasks.

        async with AsyncLLM("smollm2") as llm:
            async for delta in llm.stream("Once upon a time", SamplingParams(max_tokens=32)):
                print(delta.text, end="")

    Keyword options are the fields of EngineConfig. `step_time` is 15 ms unless said otherwise.

    Raises ConfigError, ModelError or CapacityError.
    """

    def __init__(
        self, model: str, *, progress: Callable[[int, int], None] | None = None, **options: Any
    ) -> None:
        if options.get("chunked_prefill", True) is not None:
            options = {"step_time": SERVING_STEP_S, **options}
        super().__init__(model, progress=progress, **options)
        self._inbox: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._readers: dict[str, tuple[asyncio.AbstractEventLoop, asyncio.Queue[Delta]]] = {}
        self._request_ids = itertools.count()
        self._id_prefix = secrets.token_hex(8)  # no caller's own id is like it
        self._failure: str | None = None
        self._stopped = False
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="redline-engine", daemon=True)
        self._thread.start()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Abort what runs and stop the engine's thread."""
        self._inbox.put(None)
        await asyncio.to_thread(self._thread.join)
        await asyncio.to_thread(self._engine.close)

    @property
    def healthy(self) -> bool:
        """False once the engine's thread has ended."""
        return not self._stopped and self._thread.is_alive()

    def encode_prompt(self, prompt: Prompt) -> list[int]:
        """Checked token ids of a prompt. Raises RequestError."""
        return self._engine.inputs.encode_prompt(prompt)

    def encode_chat(
        self, messages: list[dict[str, Any]], tools: list[dict[str, Any]] | None = None
    ) -> list[int]:
        """Token ids of a conversation through the chat template. Raises RequestError."""
        return self._engine.inputs.encode_chat(messages, tools)

    async def stream(
        self,
        prompt: Prompt,
        params: SamplingParams | None = None,
        *,
        request_id: str | None = None,
        priority: int = 0,
        tenant: str = "",
        deadline_s: float | None = None,
        pin_s: float = 0.0,
        cache_salt: str = "",
    ) -> AsyncGenerator[Delta]:
        """Yield the answer as it is produced. Closing the iterator, or cancelling its task, aborts.

        The lower `priority` goes first. The order "fair" shares among tenants, "deadline" looks at
        `deadline_s`: when the first token is wanted, in seconds from now. The prompt stays in the prefix
        cache for `pin_s` seconds after the end, and only requests of the same `cache_salt` find it there.

        Raises RequestError, CapacityError, QueueFull or EngineDead on the first iteration.
        """
        arrival_s = self._engine.now_s()
        params = SamplingParams() if params is None else params
        token_ids = self.encode_prompt(prompt)
        self._engine.inputs.check_params(token_ids, params)
        self._check_room()
        request_id = request_id or f"{self._id_prefix}-{next(self._request_ids)}"
        deltas: asyncio.Queue[Delta] = asyncio.Queue()
        self._register(request_id, deltas)
        options = RequestOptions(
            priority=priority,
            tenant=tenant,
            deadline_s=deadline_s,
            pin_s=pin_s,
            cache_salt=cache_salt,
            arrival_s=arrival_s,
        )
        self._inbox.put(lambda: self._add(request_id, token_ids, params, options))
        try:
            while True:
                delta = await deltas.get()
                if delta.error is not None:
                    raise delta.error
                yield delta
                if delta.last:
                    return
        finally:
            self._inbox.put(lambda: self._forget(request_id))

    def _check_room(self) -> None:
        if self._engine.scheduler.num_waiting >= self.config.max_waiting:
            self._engine.ledger.refuse()
            raise QueueFull(f"{self.config.max_waiting} requests are waiting already; try again later")

    def _register(self, request_id: str, deltas: asyncio.Queue[Delta]) -> None:
        """Under the lock a reader is either refused or known to _fail_all: none is left waiting."""
        with self._lock:
            if self._stopped:
                raise self._dead()
            if request_id in self._readers:
                raise RequestError(f"request id {request_id!r} is in use; choose another", param="request_id")
            self._readers[request_id] = (asyncio.get_running_loop(), deltas)

    def _dead(self) -> EngineDead:
        return EngineDead(f"the engine has stopped: {self._failure or 'it was closed'}")

    # Everything below runs in the engine's thread.

    def _run(self) -> None:
        try:
            while self._obey():
                self._publish(self._engine.step())
        except Exception as error:  # whatever it was, every caller must hear of it
            logger.exception("the engine stopped")
            self._failure = f"{type(error).__name__}: {error}"
        finally:
            self._fail_all()

    def _obey(self) -> bool:
        """Run the commands that wait; block for one while there is nothing else to do. False: stop."""
        while True:
            idle_s = self._engine.idle_for_s()
            idle = not self._engine.has_work
            persisting = idle and self._engine.persist()
            try:
                command = self._inbox.get(
                    block=idle or idle_s is not None, timeout=PERSIST_PAUSE_S if persisting else idle_s
                )
            except queue.Empty:
                if persisting:
                    continue
                return True
            if command is None:
                return False
            command()

    def _add(
        self,
        request_id: str,
        token_ids: list[int],
        params: SamplingParams,
        options: RequestOptions,
    ) -> None:
        try:
            self._engine.add(request_id, token_ids, params, options)
        except RedlineError as error:
            self._publish([Delta(request_id=request_id, error=error)])

    def _forget(self, request_id: str) -> None:
        self._readers.pop(request_id, None)
        self._engine.abort(request_id)

    def _publish(self, deltas: list[Delta]) -> None:
        """Hand deltas over, with one wake-up per event loop and step."""
        by_loop: dict[asyncio.AbstractEventLoop, list[tuple[asyncio.Queue[Delta], Delta]]] = {}
        for delta in deltas:
            reader = self._readers.get(delta.request_id)
            if reader is not None:
                by_loop.setdefault(reader[0], []).append((reader[1], delta))
        for loop, batch in by_loop.items():
            try:
                loop.call_soon_threadsafe(_deliver, batch)
            except RuntimeError:  # the loop was closed with its tasks; nobody listens any more
                continue

    def _fail_all(self) -> None:
        with self._lock:
            self._stopped = True
        self._publish(
            [Delta(request_id=request_id, error=self._dead()) for request_id in list(self._readers)]
        )
        self._readers.clear()


def _deliver(batch: list[tuple[asyncio.Queue[Delta], Delta]]) -> None:
    for deltas, delta in batch:
        deltas.put_nowait(delta)
