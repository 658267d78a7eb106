"""AsyncLLM: many callers, one engine. The engine runs in a thread of its own; callers await deltas."""

from __future__ import annotations

import asyncio
import itertools
import logging
import queue
import secrets
import threading
import time
from collections.abc import AsyncGenerator, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from typing import Any, Self

from redline.config.pooling import PoolingParams
from redline.config.sampling import SamplingParams
from redline.core.shortcut import Shortcut
from redline.decoding.structured.constraint import UNCONSTRAINED, Constraint
from redline.engine.inputs import Prompt
from redline.engine.mailbox import Mailbox
from redline.engine.opened import OpenedModel
from redline.engine.outputs import Delta
from redline.engine.request import RequestOptions
from redline.errors import EngineDead, QueueFull, RedlineError, RequestError
from redline.ops.arrays import F32

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
        self._readers: dict[str, Mailbox] = {}
        self._request_ids = itertools.count()
        self._id_prefix = secrets.token_hex(8)  # no caller's own id is like it
        self._failure: str | None = None
        self._stopped = False
        self._resting = True  # the engine's thread waits for a command
        self._moved_s = time.monotonic()  # when it last ended a step, or a rest
        self._lock = threading.Lock()
        # One at a time: what takes long to compile keeps waiting who has a grammar as well, and nobody else.
        self._compiling = ThreadPoolExecutor(1, thread_name_prefix="redline-grammars")
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
        self._compiling.shutdown(wait=False, cancel_futures=True)

    @property
    def healthy(self) -> bool:
        """False once the engine's thread has ended."""
        return not self._stopped and self._thread.is_alive()

    @property
    def stalled_s(self) -> float:
        """Seconds since the last step ended, or work came; 0 while there is nothing to do."""
        return 0.0 if self._resting else max(0.0, time.monotonic() - self._moved_s)

    @property
    def order(self) -> str:
        """Who is admitted first."""
        return self.config.order

    def encode_prompt(self, prompt: Prompt) -> list[int]:
        """Checked token ids of a prompt. Raises RequestError."""
        return self._engine.inputs.encode_prompt(prompt)

    def encode_chat(
        self,
        messages: list[dict[str, Any]],
        tools: list[dict[str, Any]] | None = None,
        variables: Mapping[str, Any] | None = None,
        *,
        add_generation_prompt: bool = True,
        continue_final_message: bool = False,
    ) -> list[int]:
        """Token ids of a conversation through the chat template. Raises RequestError.

        `continue_final_message`: they end with the content of the last message, for the model to go on there.
        """
        return self._engine.inputs.encode_chat(
            messages,
            tools,
            variables,
            add_generation_prompt=add_generation_prompt,
            continue_final_message=continue_final_message,
        )

    def tokenize_chat(
        self,
        messages: list[dict[str, Any]],
        tools: list[dict[str, Any]] | None = None,
        variables: Mapping[str, Any] | None = None,
        *,
        add_generation_prompt: bool = True,
        continue_final_message: bool = False,
    ) -> list[int]:
        """The same, however long the conversation is."""
        return self._engine.inputs.tokenize_chat(
            messages,
            tools,
            variables,
            add_generation_prompt=add_generation_prompt,
            continue_final_message=continue_final_message,
        )

    async def stream(  # noqa: PLR0913 - what a request can say beside its parameters
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
        shortcut: Shortcut | None = None,
    ) -> AsyncGenerator[Delta]:
        """Yield the answer as it is produced. Closing the iterator, or cancelling its task, aborts.

        The lower `priority` goes first. The order "fair" shares among tenants, "deadline" looks at
        `deadline_s`: when the first token is wanted, in seconds from now. The prompt stays in the prefix
        cache for `pin_s` seconds after the end, and only requests of the same `cache_salt` find it there.
        What `shortcut` takes is not yielded.

        Raises RequestError, CapacityError, QueueFull or EngineDead on the first iteration.
        """
        arrival_s = self._engine.now_s()
        params = SamplingParams() if params is None else params
        token_ids = self.encode_prompt(prompt)
        self._engine.inputs.check_params(token_ids, params)
        self._check_room()
        constraint = await self._compile(params)
        request_id = request_id or f"{self._id_prefix}-{next(self._request_ids)}"
        deltas = Mailbox(asyncio.get_running_loop(), shortcut)
        self._register(request_id, deltas)
        options = RequestOptions(
            priority=priority,
            tenant=tenant,
            deadline_s=deadline_s,
            pin_s=pin_s,
            cache_salt=cache_salt,
            arrival_s=arrival_s,
        )
        self._inbox.put(lambda: self._add(request_id, token_ids, params, options, constraint))
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

    async def embed(self, prompt: Prompt, *, cache_salt: str = "") -> F32:
        """The vector of a prompt, [D] float32 of length 1: the mean of its final hidden states.

        Raises as `stream` does.
        """
        async with aclosing(self.stream(prompt, PoolingParams(), cache_salt=cache_salt)) as deltas:
            async for delta in deltas:
                assert delta.embedding is not None, f"{delta = }"
                return delta.embedding
        raise self._dead()

    async def _compile(self, params: SamplingParams) -> Constraint:
        if params.structured_outputs is None:
            return UNCONSTRAINED
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._compiling, self._engine.structured.constraint, params)

    def _check_room(self) -> None:
        if self._engine.scheduler.num_waiting >= self.config.max_waiting:
            self._engine.ledger.refuse()
            raise QueueFull(f"{self.config.max_waiting} requests are waiting already; try again later")

    def _register(self, request_id: str, deltas: Mailbox) -> None:
        """Under the lock a reader is either refused or known to _fail_all: none is left waiting."""
        with self._lock:
            if self._stopped:
                raise self._dead()
            if request_id in self._readers:
                raise RequestError(f"request id {request_id!r} is in use; choose another", param="request_id")
            self._readers[request_id] = deltas

    def _dead(self) -> EngineDead:
        return EngineDead(f"the engine has stopped: {self._failure or 'it was closed'}")

    # Everything below runs in the engine's thread.

    def _run(self) -> None:
        try:
            while self._obey():
                self._step()
        except Exception as error:  # whatever it was, every caller must hear of it
            logger.exception("the engine stopped")
            self._failure = f"{type(error).__name__}: {error}"
        finally:
            self._fail_all()

    def _step(self) -> None:
        """One step; it moves the work on when it has computed something."""
        before = self._engine.num_steps
        self._publish(self._engine.step())
        if self._engine.num_steps != before:
            self._moved_s = time.monotonic()

    def _rest(self, timeout_s: float | None) -> Callable[[], None] | None:
        """The next command, waited for; raises queue.Empty after timeout_s."""
        self._resting = True
        try:
            return self._inbox.get(timeout=timeout_s)
        finally:
            self._moved_s = time.monotonic()
            self._resting = False

    def _obey(self) -> bool:
        """Run the commands that wait; block for one while there is nothing else to do. False: stop."""
        while True:
            idle_s = self._engine.idle_for_s()
            idle = not self._engine.has_work
            persisting = idle and self._engine.persist()
            try:
                if idle or idle_s is not None:
                    command = self._rest(PERSIST_PAUSE_S if persisting else idle_s)
                else:
                    command = self._inbox.get_nowait()
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
        constraint: Constraint,
    ) -> None:
        try:
            self._engine.add(request_id, token_ids, params, options, constraint)
        except RedlineError as error:
            self._publish([Delta(request_id=request_id, error=error)])

    def _forget(self, request_id: str) -> None:
        self._readers.pop(request_id, None)
        self._engine.abort(request_id)

    def _publish(self, deltas: list[Delta]) -> None:
        """Hand deltas over, with one wake-up per event loop and step."""
        by_loop: dict[asyncio.AbstractEventLoop, list[tuple[Mailbox, Delta]]] = {}
        for delta in deltas:
            reader = self._readers.get(delta.request_id)
            if reader is not None:
                by_loop.setdefault(reader.loop, []).append((reader, delta))
        for loop, batch in by_loop.items():
            try:
                loop.call_soon_threadsafe(_deliver, batch)
            except RuntimeError:  # the loop was closed with its tasks; nobody listens any more
                continue

    def _fail_all(self) -> None:
        self._resting = True
        with self._lock:
            self._stopped = True
        self._publish(
            [Delta(request_id=request_id, error=self._dead()) for request_id in list(self._readers)]
        )
        self._readers.clear()


def _deliver(batch: list[tuple[Mailbox, Delta]]) -> None:
    for deltas, delta in batch:
        deltas.put(delta)
