"""GGUFVocabulary: the `tokenizer.ggml.*` keys of a GGUF file, each checked before it is used."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isnan
from typing import Any

from redline.errors import ModelFileError

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = range(1, 7)  # token types
KEY = "tokenizer.ggml."
_PAST_TEXT = 40  # characters of a wrong value that a message shows


class GGUFVocabulary:
    """Tokens, their types and ids, and typed access to everything else the file says about them.

    Arrays may be lists or NumPy arrays, text str or bytes. Raises ModelFileError for a key that is missing,
    of the wrong type, or at odds with the others.
    """

    def __init__(self, metadata: Mapping[str, Any]) -> None:
        self._metadata = metadata
        self.tokens = self.texts("tokens")
        self.ids = {token: place for place, token in enumerate(self.tokens)}
        if len(self.ids) != len(self.tokens):
            place = next(at for at, token in enumerate(self.tokens) if self.ids[token] != at)
            raise ModelFileError(
                f"{KEY}tokens has {self.tokens[place][:_PAST_TEXT]!r} twice, as {place} and "
                f"{self.ids[self.tokens[place]]}; every token must be unique"
            )
        self.types = self._types()

    def of_type(self, *types: int) -> dict[str, int]:
        """The tokens of some types with their ids, in the order of the ids."""
        wanted = frozenset(types)
        return {
            self.tokens[place]: place
            for place, type_ in enumerate(self.types)
            if type_ in wanted and self.tokens[place]
        }

    def texts(self, name: str) -> list[str]:
        """A list of strings."""
        values = self._array(name)
        if all(type(value) is str for value in values):
            return list(values)
        return [self._decoded(name, place, value) for place, value in enumerate(values)]

    def scores(self) -> Sequence[float]:
        """One number per token."""
        values = self._array("scores")
        self._check_length("scores", values)
        wrong = next((value for value in values if not _is_number(value)), None)
        if wrong is not None:
            raise ModelFileError(f"{KEY}scores holds {wrong!r}; every score must be a number")
        return [float(value) for value in values]

    def text(self, name: str) -> str | None:
        """One string, None when absent."""
        value = self._metadata.get(KEY + name)
        return None if value is None else self._decoded(name, None, value)

    def flag(self, name: str, default: bool) -> bool:
        """A truth value."""
        value = self._metadata.get(KEY + name)
        if value is None:
            return default
        if str(value) not in ("True", "False"):  # bool or numpy.bool
            raise ModelFileError(f"{KEY}{name} is {value!r}; it must be true or false")
        return bool(value)

    def token_id(self, name: str) -> int | None:
        """The id that `name` (bos, eos ...) stands for, None when the file does not say."""
        value = self._metadata.get(f"{KEY}{name}_token_id")
        if value is None:
            return None
        if not _is_number(value) or int(value) != value or not 0 <= value < len(self.tokens):
            raise ModelFileError(
                f"{KEY}{name}_token_id is {value!r}; it must be the id of a token, 0..{len(self.tokens) - 1}"
            )
        return int(value)

    def _types(self) -> list[int]:
        if self._metadata.get(KEY + "token_type") is None:
            return self._guessed_types()
        values = [int(value) if _is_number(value) else -1 for value in self._array("token_type")]
        self._check_length("token_type", values)
        wrong = next((place for place, value in enumerate(values) if not NORMAL <= value <= BYTE), None)
        if wrong is not None:
            raise ModelFileError(f"{KEY}token_type[{wrong}] is not one of the types {NORMAL}..{BYTE}")
        return values

    def _guessed_types(self) -> list[int]:
        """Without types, the tokens with a role are control tokens and all others normal."""
        roles = {self.token_id(name) for name in ("bos", "eos", "eot", "eom", "unknown", "padding")}
        return [CONTROL if place in roles else NORMAL for place in range(len(self.tokens))]

    def _array(self, name: str) -> Sequence[Any]:
        value = self._metadata.get(KEY + name)
        value = getattr(value, "tolist", lambda: value)()
        if not isinstance(value, list | tuple) or not value:
            was = "missing" if value is None else f"{type(value).__name__} {str(value)[:_PAST_TEXT]!r}"
            raise ModelFileError(f"{KEY}{name} is {was}; it must be an array with at least one element")
        return value

    def _check_length(self, name: str, values: Sequence[Any]) -> None:
        if len(values) != len(self.tokens):
            raise ModelFileError(
                f"{KEY}{name} has {len(values)} elements and {KEY}tokens {len(self.tokens)}; they must agree"
            )

    def _decoded(self, name: str, place: int | None, value: object) -> str:
        where = f"{KEY}{name}" if place is None else f"{KEY}{name}[{place}]"
        if isinstance(value, bytes | bytearray):
            try:
                return value.decode()
            except UnicodeDecodeError as error:
                raise ModelFileError(f"{where} is not UTF-8: {error}") from error
        if not isinstance(value, str):
            raise ModelFileError(f"{where} is {type(value).__name__}; it must be text")
        return value


def _is_number(value: object) -> bool:
    """Python's and NumPy's numbers, neither NaN nor a truth value."""
    if isinstance(value, bool) or not hasattr(value, "__float__") or isinstance(value, str | bytes):
        return False
    return not isnan(float(value))
