"""Checks of numbers that a user states; the message names the field and what is accepted."""

from __future__ import annotations

from redline.errors import ConfigError


def check_count(name: str, value: object, low: int, high: int, *, optional: bool = False) -> None:
    """Raises ConfigError unless `value` is an integer in the range, or None where that is optional."""
    if value is None and optional:
        return
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        none = " or None" if optional else ""
        raise ConfigError(f"{name} is {value!r}; it must be an integer between {low} and {high}{none}")


def check_number(name: str, value: object, low: float, high: float) -> None:
    """Raises ConfigError unless `value` is a number in the range."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise ConfigError(f"{name} is {value!r}; it must be a number between {low} and {high}")
