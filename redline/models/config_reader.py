"""Typed reading of a model's settings that insists on everything being understood."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from math import isfinite
from typing import Any, TypeVar

from redline.errors import ModelFileError, UnsupportedModel
from redline.models.spec import MAX_SIZE

T = TypeVar("T", bound=int | float | bool | str | list[Any] | dict[str, Any])


class ConfigReader:
    """One mapping of settings. `source` names it in messages.

    Reads raise ModelFileError for a missing key or a wrong type. `done` raises UnsupportedModel when a key
    was neither read nor declared harmless: it might change results. A null value counts as absent.
    """

    def __init__(self, values: Mapping[str, Any], source: str) -> None:
        self.source = source
        self._values = values
        self._read: set[str] = set()

    def __contains__(self, key: str) -> bool:
        return self._values.get(key) is not None

    def is_null(self, key: str) -> bool:
        """Whether the key is there with the value null."""
        return key in self._values and self._values[key] is None

    def is_list(self, key: str) -> bool:
        """Whether the value is a list, where a key may also hold one value for all layers."""
        return isinstance(self._values.get(key), list)

    def optional(self, key: str, kind: type[T]) -> T | None:
        """The value, or None when it is absent or null."""
        self._read.add(key)
        value = self._values.get(key)
        return None if value is None else self._typed(key, value, kind)

    def default(self, key: str, fallback: T) -> T:
        """The value, of the fallback's type, or the fallback."""
        value = self.optional(key, type(fallback))
        return fallback if value is None else value

    def require(self, key: str, kind: type[T]) -> T:
        value = self.optional(key, kind)
        if value is None:
            raise ModelFileError(f"{self.source}: {key} is missing; it must be {_name(kind)}")
        return value

    def size(self, key: str, fallback: int | None = None) -> int:
        """A count or dimension: an integer of at least 1."""
        value = self.require(key, int) if fallback is None else self.default(key, fallback)
        if not 1 <= value <= MAX_SIZE:
            raise ModelFileError(f"{self.source}: {key} is {value}; it must be in 1..{MAX_SIZE}")
        return value

    def expect(self, key: str, accepted: Collection[Any]) -> Any:
        """The value, which must be one of `accepted` (put None in it to allow absence)."""
        self._read.add(key)
        value = self._values.get(key)
        if not isinstance(value, int | float | bool | str | None) or value not in accepted:
            choices = ", ".join(repr(choice) for choice in accepted)
            raise UnsupportedModel(f"{self.source}: {key} is {_short(value)}; supported: {choices}")
        return value

    def section(self, key: str) -> ConfigReader:
        """A nested mapping, to be read the same way."""
        return ConfigReader(self.require(key, dict), f"{self.source}: {key}")

    def ignore(self, *keys: str) -> None:
        """Declare keys that do not change what the model computes."""
        self._read.update(keys)

    def done(self) -> None:
        """Raise UnsupportedModel when a key that may change results was not read."""
        unread = sorted(key for key in self._values if key in self and key not in self._read)
        if unread:
            shown = ", ".join(f"{key}={_short(self._values[key])}" for key in unread[:8])
            raise UnsupportedModel(f"{self.source}: settings that Redline does not know: {shown}")

    def _typed(self, key: str, value: Any, kind: type[T]) -> T:
        if kind is float and isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**53:
            value = float(value)
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            raise ModelFileError(f"{self.source}: {key} is {_short(value)}; it must be {_name(kind)}")
        if isinstance(value, float) and not isfinite(value):
            raise ModelFileError(f"{self.source}: {key} is {value}; it must be finite")
        return value


def _name(kind: type[Any]) -> str:
    names = {int: "an integer", float: "a number", bool: "true or false", str: "text", list: "a list"}
    return names.get(kind, "a mapping")


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
