"""Slo: what a user is promised, and how many requests were served as promised (goodput)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from redline.errors import ConfigError

NAMES = ("ttft", "tpot", "tbt", "e2e")


@dataclass(frozen=True, slots=True)
class Slo:
    """Limits in seconds by name: ttft, tpot, e2e, and tbt for the longest gap between two chunks.

    A request is good when it meets all of them; one that failed never is. Goodput is good requests per second
    (DistServe, arXiv 2401.09670).
    """

    limits_s: Mapping[str, float]

    @classmethod
    def parse(cls, text: str | None) -> Slo | None:
        """Of "ttft=0.5,tpot=0.05". Raises ConfigError."""
        if text is None:
            return None
        limits = {}
        for part in text.split(","):
            name, _, value = part.strip().partition("=")
            if name not in NAMES:
                raise ConfigError(f"--slo names {name!r}; it takes {', '.join(NAMES)}, as ttft=0.5,tpot=0.05")
            try:
                limits[name] = float(value)
            except ValueError:
                limits[name] = -1.0
            if not 0 < limits[name] < float("inf"):
                raise ConfigError(f"--slo has {part.strip()!r}; each limit must be seconds, above 0")
        return cls(limits)

    def met(self, times_s: Mapping[str, float | None]) -> bool:
        """Whether all limits are met; a time that a request does not have meets its limit."""
        pairs = ((times_s[name], limit) for name, limit in self.limits_s.items())
        return all(seconds is None or seconds <= limit for seconds, limit in pairs)

    def __str__(self) -> str:
        return ", ".join(f"{name.upper()} <= {limit * 1e3:g} ms" for name, limit in self.limits_s.items())
