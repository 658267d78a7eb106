"""SelfCheck: does the engine that is serving still give the bits that it gave at first?

One prompt, greedily: computed anew, found in the prefix cache, and beside another request. Tokens and their
log-probabilities must be those of the first check, bit for bit, whatever else the engine computes meanwhile:
that is what batch invariance promises, so it can be checked on a server that is busy.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING
from uuid import uuid4

from redline.config.sampling import SamplingParams
from redline.errors import RedlineError

if TYPE_CHECKING:
    from redline.server.engine import ServedEngine

logger = logging.getLogger("redline.server")

PROMPT = "One, two, three, four, five, six, seven, eight, nine, ten, eleven, twelve, thirteen, fourteen, "
BESIDE = "The quick brown fox jumps over the lazy dog"
ANSWER = SamplingParams(temperature=0.0, max_tokens=8, ignore_eos=True, logprobs=1)
TIMEOUT_S = 30.0  # a server that has no time for it is busy, not broken

Bits = list[tuple[int, float]]  # tokens and their log-probabilities


@dataclass(frozen=True, slots=True)
class Finding:
    """What the latest check found. `fault` is None when all was as before."""

    fault: str | None
    at_s: float  # by the clock of the check


class SelfCheck:
    """Runs when someone asks and the latest check began `every_s` ago, once however many ask.

    So nobody can load the server with it: four answers of eight tokens per `every_s`. They count in the
    engine's statistics. What a check finds stays until the next one.
    """

    def __init__(
        self, engine: ServedEngine, every_s: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._engine = engine
        self._every_s = every_s
        self._clock = clock
        self._first: Bits | None = None
        self._running: asyncio.Task[None] | None = None
        self._started_s: float | None = None
        self.latest: Finding | None = None

    @property
    def age_s(self) -> float | None:
        """Since the latest result; None: there is none yet."""
        return None if self.latest is None else self._clock() - self.latest.at_s

    async def ask(self) -> Finding | None:
        """The latest result, after a check if it is due; None: the server had no time for the first one."""
        if self._running is None and self._is_due():
            self._started_s = self._clock()
            self._running = asyncio.create_task(self._run())
        if self._running is not None:
            await asyncio.shield(self._running)
        return self.latest

    def _is_due(self) -> bool:
        return self._started_s is None or self._clock() - self._started_s >= self._every_s

    async def _run(self) -> None:
        try:
            fault = await asyncio.wait_for(self._fault(), TIMEOUT_S)
        except (TimeoutError, RedlineError) as error:
            logger.warning("the self-check did not run: %s: %s", type(error).__name__, error)
            return
        finally:
            self._running = None
        if fault is not None:
            logger.error("the self-check failed: %s", fault)
        self.latest = Finding(fault, self._clock())

    async def _fault(self) -> str | None:
        """What is not as it was."""
        salt = uuid4().hex  # so that nothing is found the first time
        fresh = await self._answer(PROMPT, salt)
        if self._first is None:
            self._first = fresh
        found = await self._answer(PROMPT, salt)
        beside, _ = await asyncio.gather(
            self._answer(PROMPT, f"{salt}-beside"), self._answer(BESIDE, f"{salt}-other")
        )
        for bits, how in ((fresh, "computed anew"), (found, "asked again"), (beside, "beside another")):
            if len(bits) != ANSWER.max_tokens:  # nothing is equal to nothing
                return f"an answer {how} has {len(bits)} tokens with chances, not {ANSWER.max_tokens}"
            if bits != self._first:
                return f"an answer {how} is not what it was at first"
        return None

    async def _answer(self, text: str, salt: str) -> Bits:
        bits: Bits = []
        stream = self._engine.stream(
            self._engine.encode_prompt(text),
            ANSWER,
            request_id=f"self-check-{uuid4().hex}",
            cache_salt=salt,
        )
        async with aclosing(stream) as deltas:  # type: ignore[type-var]
            async for delta in deltas:
                bits += [(token.token_id, token.logprob) for token in delta.logprobs or ()]
        return bits


def self_check_of(engine: ServedEngine, every_s: float | None) -> SelfCheck | None:
    """The self-check of an engine; None: off."""
    return None if every_s is None else SelfCheck(engine, every_s)
