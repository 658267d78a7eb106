"""StepMeter: how long steps take, how much is in them, how near they come to the machine's roofline."""

from __future__ import annotations

from typing import TYPE_CHECKING

from redline.core.distribution import Distribution

if TYPE_CHECKING:
    from redline.core.plan import Plan
    from redline.core.roofline import Roofline

SECONDS = (
    0.0005,
    0.001,
    0.002,
    0.003,
    0.005,
    0.0075,
    0.01,
    0.015,
    0.02,
    0.03,
    0.05,
    0.075,
    0.1,
    0.2,
    0.5,
    1,
    5,
)
TOKENS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192)
BATCH = (1, 2, 4, 8, 16, 24, 32, 48, 64, 96, 128, 192, 256, 512)
FORGET = 0.98  # of what the latest roofline fraction is made of, a step later


class StepMeter:
    """Hears of every step that computed something, in the engine's thread; may be read from another.

    `least_s`: what the steps since `roofline` is known would have taken at it, `measured_s`: what they took.
    """

    def __init__(self) -> None:
        self.seconds = Distribution(SECONDS)
        self.tokens = Distribution(TOKENS)
        self.batch = Distribution(BATCH)
        self.roofline: Roofline | None = None  # None: nobody has measured this machine
        self.least_s = self.measured_s = 0.0
        self._latest_least_s = self._latest_s = 0.0

    def stepped(self, plan: Plan, seconds: float) -> None:
        """A step is over, which took so long."""
        self.seconds.add(seconds)
        self.tokens.add(plan.num_tokens)
        self.batch.add(len(plan.items))
        if self.roofline is None:
            return
        context_tokens = sum([item.start + item.num_tokens for item in plan.items])
        least_s = self.roofline.step_s(*plan.composition(), context_tokens)
        self.least_s += least_s
        self.measured_s += seconds
        self._latest_least_s = self._latest_least_s * FORGET + least_s
        self._latest_s = self._latest_s * FORGET + seconds

    def added(self, later: StepMeter) -> StepMeter:
        """The steps of both; the latest ones are those of `later`."""
        total = StepMeter()
        total.seconds = self.seconds.added(later.seconds)
        total.tokens = self.tokens.added(later.tokens)
        total.batch = self.batch.added(later.batch)
        total.least_s, total.measured_s = self.least_s + later.least_s, self.measured_s + later.measured_s
        total._latest_least_s, total._latest_s = later._latest_least_s, later._latest_s
        return total

    @property
    def roofline_fraction(self) -> float | None:
        """Of the latest 50 steps or so: the speed beside the most that this machine allows, 0 to 1."""
        return self._latest_least_s / self._latest_s if self._latest_s else None
