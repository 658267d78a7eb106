"""kind_of(): what the switches of an engine do to the ops that it runs on."""

from __future__ import annotations

from functools import reduce

from redline.config.engine import EngineConfig
from redline.engine.activations import Kind
from redline.ops.naive import naive
from redline.ops.registry import Backend
from redline.ops.unfused import unfused


def kind_of(config: EngineConfig) -> Kind:
    """A function that gives a backend the ops that are asked for."""
    switched: list[tuple[bool, Kind]] = [(config.fusion, unfused), (config.flash_attention, naive)]
    baselines = [baseline for on, baseline in switched if not on]

    def kind(ops: Backend) -> Backend:
        return reduce(lambda changed, baseline: baseline(changed), baselines, ops)

    return kind
