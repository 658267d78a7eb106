"""The roofline of a loaded model, if `redline hardware` has measured this machine."""

from __future__ import annotations

from typing import TYPE_CHECKING

from redline import env

if TYPE_CHECKING:
    from redline.core.roofline import Roofline
    from redline.engine.opened import OpenedModel


def known_roofline(llm: OpenedModel) -> Roofline | None:
    """None: this machine was not measured with as many threads. Nothing is measured here."""
    from redline.bench.environment import environment
    from redline.bench.footprint import footprint
    from redline.bench.hardware.saved import load
    from redline.core.roofline import Roofline

    threads = llm.config.threads or env.num_threads() or environment().num_cores
    hardware = load(env.cache_dir() / f"hardware-{threads}.json", threads)
    if hardware is None:
        return None
    asked = footprint(llm)
    weight_bytes = asked.pop("layer_bytes") + asked.pop("output_bytes")
    rates = hardware.macs[hardware.isa]
    return Roofline(
        read_bytes_s=hardware.read_bytes_s(weight_bytes),
        macs_s=max(rates.values()),
        weight_bytes=weight_bytes,
        **asked,
    )
