"""StructuredOutputsParams: the form that an answer must have."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from redline.errors import RequestError

MAX_GRAMMAR_BYTES = 64 * 1024  # of a schema, an expression, a grammar, or all choices together
FORMS = ("json", "regex", "choice", "grammar", "json_object", "structural_tag")
ANY_OBJECT = '{"type": "object"}'


@dataclass(frozen=True, kw_only=True, slots=True)
class StructuredOutputsParams:
    """What an answer must match from its first character to its last; exactly one form is given.

    `json` is a JSON Schema (draft 2020-12), `regex` a regular expression without look-around and back
    references, `choice` a list of texts of which the answer is one, `grammar` a context-free grammar in the
    syntax of Lark or in llama.cpp's GBNF, `json_object` any JSON object. `structural_tag` leaves the text
    free up to one of its "triggers"; from there on it is one of its "structures": "begin", JSON of a
    "schema", "end".

    JSON is written as `json.dumps` does it, on one line. `whitespace_pattern` is a regular expression of what
    may stand between its parts in place of that. Names as in vLLM. Raises RequestError naming the field.
    """

    json: str | Mapping[str, Any] | None = None
    regex: str | None = None
    choice: tuple[str, ...] | list[str] | None = None
    grammar: str | None = None
    json_object: bool | None = None
    structural_tag: str | Mapping[str, Any] | None = None
    whitespace_pattern: str | None = None

    def __post_init__(self) -> None:
        if self.json_object is False:
            object.__setattr__(self, "json_object", None)
        given = [name for name in FORMS if getattr(self, name) is not None]
        if len(given) != 1:
            raise RequestError(
                f"structured_outputs has {' and '.join(given) or 'no form'}; give exactly one of "
                f"{', '.join(FORMS)}",
                param="structured_outputs",
            )
        if self.json_object not in (None, True):
            raise _wrong("json_object", self.json_object, "true or false")
        for name in ("regex", "grammar", "whitespace_pattern"):
            _check_text(name, getattr(self, name))
        for name in ("json", "structural_tag"):
            object.__setattr__(self, name, _json_text(name, getattr(self, name)))
        if self.choice is not None:
            object.__setattr__(self, "choice", _choices(self.choice))
        if len(self.source.encode()) > MAX_GRAMMAR_BYTES:
            raise RequestError(
                f"structured_outputs.{self.form} has {len(self.source.encode())} bytes; at most "
                f"{MAX_GRAMMAR_BYTES} are accepted",
                param=f"structured_outputs.{self.form}",
            )

    @property
    def form(self) -> str:
        """Which of the forms is given."""
        return next(name for name in FORMS if getattr(self, name) is not None)

    @property
    def source(self) -> str:
        """The form as text: with form and whitespace_pattern, all that the set of answers depends on."""
        if self.json_object:
            return ANY_OBJECT
        value: str | tuple[str, ...] = getattr(self, self.form)
        return value if isinstance(value, str) else json.dumps(value)


def check_structured(structured_outputs: object, *, min_tokens: int, ignore_eos: bool) -> None:
    """Refuse what contradicts a form: it alone says where the answer ends. Raises RequestError."""
    if structured_outputs is None:
        return
    if not isinstance(structured_outputs, StructuredOutputsParams):
        raise RequestError(
            f"structured_outputs is {structured_outputs!r:.80}; it must be StructuredOutputsParams",
            param="structured_outputs",
        )
    if ignore_eos:
        raise RequestError(
            "ignore_eos is true and structured_outputs is set; nothing can follow a complete answer: "
            "leave one of them out",
            param="ignore_eos",
        )
    if min_tokens:
        raise RequestError(
            f"min_tokens is {min_tokens} and structured_outputs is set; state the least length there "
            "(minLength, minItems, {n,}), or leave min_tokens out",
            param="min_tokens",
        )


def _choices(choices: object) -> tuple[str, ...]:
    if not isinstance(choices, list | tuple) or not choices or not all(isinstance(c, str) for c in choices):
        raise _wrong("choice", choices, "a list of one text or more")
    if not all(choices):
        raise RequestError(
            "structured_outputs.choice has an empty text; every choice needs at least one character",
            param="structured_outputs.choice",
        )
    for choice in choices:
        _check_text("choice", choice)
    return tuple(choices)


def _json_text(name: str, value: object) -> str | None:
    """JSON text of an object; a schema may be true or false as well."""
    if value is None:
        return None
    try:
        parsed = json.loads(value) if isinstance(value, str) else value
        if not isinstance(parsed, Mapping) and not (name == "json" and isinstance(parsed, bool)):
            raise _wrong(name, value, "a JSON object, or its text")
        text = json.dumps(parsed if isinstance(parsed, bool) else dict(parsed), allow_nan=False)
    except (TypeError, ValueError) as error:
        raise _wrong(name, value, f"JSON: {error}") from None
    except RecursionError:
        raise _wrong(name, "nested too deeply", "a JSON object, or its text") from None
    return text


def _check_text(name: str, value: object) -> None:
    if value is None:
        return
    if not isinstance(value, str):
        raise _wrong(name, value, "a text")
    if not value:
        raise _wrong(name, value, "a text of at least one character")
    if any("\ud800" <= character <= "\udfff" for character in value):
        raise RequestError(
            f"structured_outputs.{name} is not valid Unicode: it holds a lone surrogate",
            param=f"structured_outputs.{name}",
        )


def _wrong(name: str, value: object, accepted: str) -> RequestError:
    return RequestError(
        f"structured_outputs.{name} is {value!r:.80}; it must be {accepted}",
        param=f"structured_outputs.{name}",
    )
