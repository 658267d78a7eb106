"""Pairs of configurations that differ in one technique: without it from the best, with it from the plain."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal

from redline.bench.ablate.loads import LOADS, Load
from redline.bench.ablate.switches import (
    BY_NAME,
    SWITCHES,
    Setup,
    Switch,
    best,
    plain,
    setup_of,
    with_needs,
    without,
)
from redline.errors import ConfigError

Start = Literal["best", "plain"]
STARTS: tuple[Start, ...] = ("best", "plain")


@dataclass(frozen=True, kw_only=True)
class Pair:
    """The same load with a technique and without it."""

    start: Start
    switch: Switch
    load: Load
    on: Setup
    off: Setup
    note: str = ""  # what goes or comes with it

    @property
    def small(self) -> bool:
        """Plain engines get the small size."""
        return self.start == "plain"


def pairs(starts: Collection[str], only: Collection[str], loads: Collection[str]) -> list[Pair]:
    """All pairs, best first; `only` and `loads` choose by name, empty: all. Raises ConfigError."""
    _check("--only", only, BY_NAME)
    _check("--workload", loads, LOADS)
    made = [
        _pair(start, switch, LOADS[name])
        for start in STARTS
        if start in starts
        for switch in SWITCHES
        if (not only or switch.name in only) and not (start == "plain" and switch.in_plain)
        for name in (switch.loads if start == "best" else switch.loads[:1])
        if not loads or name in loads
    ]
    if not made:
        raise ConfigError("--only and --workload leave nothing to measure; `redline ablate --list` shows all")
    return made


def _check(flag: str, names: Collection[str], known: Collection[str]) -> None:
    for name in names:
        if name not in known:
            raise ConfigError(f"{flag} has {name[:60]!r}; it must be some of {', '.join(known)}")


def _pair(start: Start, switch: Switch, load: Load) -> Pair:
    name = switch.name
    if start == "plain":
        base = with_needs(switch.needs) | plain()
        note = f"with {', '.join(sorted(base - plain()))}" if base - plain() else ""
        on = base | {name}
        off = base
    else:
        on = best() | {name}
        off = on - {name}
        gone = sorted(off - without(on, name))
        note = f"takes the effect of {', '.join(gone)} along" if gone else ""
    return Pair(
        start=start,
        switch=switch,
        load=load.sized(small=start == "plain"),
        on=setup_of(on),
        off=setup_of(off),
        note=note,
    )
