"""What a check of `redline verify` is, and what came of it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple

Status = Literal["holds", "broken", "skipped"]
Promise = Literal["exact", "tolerance", "bound"]


class Verdict(NamedTuple):
    """`detail` says what was compared or, when broken, where the first difference is."""

    status: Status
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One promise and how it is tested."""

    name: str
    promise: Promise
    run: Callable[[], Verdict]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """A check that was run."""

    name: str
    promise: Promise
    status: Status
    detail: str
    seconds: float


def run_check(check: Check) -> Outcome:
    """An error of the engine, foreseen or not, breaks a promise too, and ends no other check."""
    start_s = time.perf_counter()
    try:
        verdict = check.run()
    except Exception as error:  # noqa: BLE001  the other checks run all the same
        verdict = Verdict("broken", f"{type(error).__name__}: {error}")
    return Outcome(
        name=check.name,
        promise=check.promise,
        status=verdict.status,
        detail=verdict.detail,
        seconds=time.perf_counter() - start_s,
    )
