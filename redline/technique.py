"""Technique: what a row of redline/techniques.py says."""

from __future__ import annotations

import ast
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

ALWAYS_ON = "always on"


class Payoff(NamedTuple):
    """What a technique bought on SmolLM2, as a committed report has it."""

    text: str
    report: str  # relative to the checkout


class Bound(NamedTuple):
    """How far predictions may move from those of the baseline `against`."""

    against: str
    least_top1: float  # share of tokens whose most likely successor stays the same
    most_kl: float  # mean Kullback-Leibler divergence, nats

    def __str__(self) -> str:
        least = f"{100 * self.least_top1:g} %"
        return f"against {self.against}: top-1 agreement >= {least}, mean KL divergence <= {self.most_kl:g}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Technique:
    """`promise` says what switching it on may change.

    exact: nothing; the same tokens, bit for bit. tolerance: the rounding of floats. bound: `limit` says how
    much.
    """

    name: str
    file: str  # relative to the checkout
    switch: str  # the option of EngineConfig that gives the baseline, or ALWAYS_ON
    promise: Literal["exact", "tolerance", "bound"]
    summary: str
    paper: str
    limit: Bound | None = None
    payoff: Payoff | None = None
    unmeasured: str = ""  # why there is no payoff, where there is none
    needs: tuple[str, ...] = ()
    excludes: tuple[str, ...] = ()

    @property
    def option(self) -> tuple[str, Any] | None:
        """The option of EngineConfig that `switch` names, and its value; None: always on."""
        if self.switch == ALWAYS_ON:
            return None
        name, text = self.switch.split("=")
        try:
            return name, ast.literal_eval(text)
        except (SyntaxError, ValueError):  # a name
            return name, text
