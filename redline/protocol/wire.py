"""What all wire types share: strict requests that say what is wrong, responses without unset fields."""

from __future__ import annotations

import reprlib
from collections.abc import Mapping
from typing import Any, ClassVar, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Discriminator,
    GetJsonSchemaHandler,
    ValidationError,
    model_validator,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, ErrorDetails, PydanticCustomError, from_json

from redline.errors import RequestError

_shorten = reprlib.Repr()
_shorten.maxstring = _shorten.maxother = _shorten.maxlong = 60
_shorten.maxlevel = 2
MAX_SHOWN = 200


class UnsupportedParameter(RequestError):
    """A known parameter that Redline does not implement was given a value that matters."""


class RequestModel(BaseModel):
    """An object a client sends. `null` equals absence; names nobody defines are ignored.

    `unsupported` maps names that Redline knows but does not implement to the values that change nothing;
    any other value is refused. `ignored` names identify the caller and never change an answer.
    """

    model_config = ConfigDict(strict=True, extra="ignore", frozen=True, allow_inf_nan=False)
    unsupported: ClassVar[Mapping[str, tuple[object, ...]]] = {}
    ignored: ClassVar[frozenset[str]] = frozenset()

    @model_validator(mode="before")
    @classmethod
    def _screen(cls, data: object) -> object:
        if not isinstance(data, dict):
            return data
        present = {name: value for name, value in data.items() if value is not None}
        for name, accepted in cls.unsupported.items():
            if name in present and not _is_one_of(present[name], accepted):
                raise invalid("unsupported", "this server does not implement it; leave it out", name, present)
        return present

    @classmethod
    def __get_pydantic_json_schema__(
        cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        """What pydantic makes of the fields, and what it cannot know: null, unsupported and ignored names."""
        schema = handler(core_schema)
        described = handler.resolve_ref_schema(schema)
        required = described.get("required", [])
        fields = described.get("properties", {})
        described["properties"] = {
            **{name: each if name in required else _or_null(each) for name, each in fields.items()},
            **{name: {"enum": [None, *accepted]} for name, accepted in cls.unsupported.items()},
            **{name: {} for name in cls.ignored},
        }
        return schema

    @classmethod
    def parse(cls, data: object) -> Self:
        """The checked request. Raises RequestError naming the first field that is wrong."""
        if not isinstance(data, dict):
            raise RequestError(f"the body is {show(data)}; it must be a JSON object")
        try:
            return cls.model_validate(data)
        except ValidationError as error:
            raise _request_error(error.errors(include_url=False)[0]) from None

    @classmethod
    def unknown_names(cls, data: Mapping[str, object]) -> set[str]:
        """The names in `data` that are in no list of parameters."""
        return data.keys() - cls.model_fields.keys() - cls.unsupported.keys() - cls.ignored


class ResponseModel(BaseModel):
    """An object a server sends. Fields that were not set are absent from the JSON.

    Clients read the answers of other servers with it too, so unknown fields are ignored.
    """

    model_config = ConfigDict(extra="ignore")

    def to_json(self) -> str:
        """Compact JSON of the fields that were set."""
        return self.model_dump_json(exclude_unset=True)

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """Raises pydantic.ValidationError when `text` is not such an object."""
        return cls.model_validate_json(text)


class WholeModel(ResponseModel):
    """An object that is sent with all its members, set or not."""

    def to_json(self) -> str:
        return self.model_dump_json()


def parse_json(body: bytes) -> Any:
    """The value of a JSON text in UTF-8, without NaN, Infinity, lone surrogates or deep nesting.

    Raises RequestError.
    """
    try:
        return from_json(body, allow_inf_nan=False)
    except ValueError as error:
        raise RequestError(f"the body is not valid JSON: {error}") from None


def invalid(
    kind: str, advice: str, name: str | None = None, data: Mapping[str, object] | None = None
) -> PydanticCustomError:
    """An error for validators. With `name` it is about that member of the object being validated."""
    context: dict[str, Any] = {"advice": advice}
    if name is not None:
        context["param"] = name
        context["value"] = show(data[name]) if data and name in data else "missing"
    return PydanticCustomError(kind, "{advice}", context)


class _ByType(Discriminator):
    """A dict in it must not keep unions from being hashed, as a union of unions is."""

    __hash__ = object.__hash__
    __eq__ = object.__eq__


def by_type(*names: str, default: str | None = None, other: str | None = None) -> Discriminator:
    """What tells the members of a union apart: their `type`, each Tag being "~" and one of `names`.

    `default` is the type of an object that has none, `other` the tag of what is none. The mark keeps tags
    out of the path of a field in error messages.
    """

    def tag(value: object) -> str | None:
        if isinstance(value, dict):
            found = default if value.get("type") is None else value["type"]
        elif (found := getattr(value, "type", None)) is None and other is not None:
            return f"~{other}"
        return f"~{found}" if isinstance(found, str) and found in names else None

    accepted = ", ".join(names)
    return _ByType(
        tag,
        custom_error_type="type",
        custom_error_message="{advice}",
        custom_error_context={"advice": f"it should be one of {accepted}", "param": "type"},
    )


def show(value: object) -> str:
    """A short picture of what a client sent, fit for an error message."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    text = _shorten.repr(value)
    return text if len(text) <= MAX_SHOWN else text[:MAX_SHOWN] + "..."


def _or_null(schema: JsonSchemaValue) -> JsonSchemaValue:
    """The schema of a member that may be null, which equals its absence."""
    if {"type": "null"} in schema.get("anyOf", []):
        return schema
    described = {name: schema[name] for name in ("title", "default") if name in schema}
    rest = {name: value for name, value in schema.items() if name not in described}
    return {"anyOf": [rest, {"type": "null"}]} | described


def _is_one_of(value: object, accepted: tuple[object, ...]) -> bool:
    return any(type(value) is type(choice) and value == choice for choice in accepted)


def _request_error(detail: ErrorDetails) -> RequestError:
    context = detail.get("ctx", {})
    loc = detail["loc"] + ((context["param"],) if "param" in context else ())
    param = _path(loc)
    if detail["type"] == "missing":
        return RequestError(f"{param} is missing; it is required", param=param)
    value = context.get("value") or show(_blamed(detail))
    advice = detail["msg"].replace("Input should", "it should")
    kind = UnsupportedParameter if detail["type"] == "unsupported" else RequestError
    return kind(f"{param} is {value}; {advice}", param=param)


def _blamed(detail: ErrorDetails) -> object:
    """What is wrong: for a member of a union that none of them has, its type."""
    value = detail["input"]
    return value.get("type") if detail["type"] == "type" and isinstance(value, dict) else value


def _path(loc: tuple[int | str, ...]) -> str:
    """('messages', 0, 'content') -> 'messages[0].content'"""
    text = ""
    for part in loc:
        if isinstance(part, str) and part.startswith("~"):
            continue
        name = str(part) if len(str(part)) <= 60 else str(part)[:60] + "..."
        text += f"[{name}]" if isinstance(part, int) else f".{name}"
    return text.removeprefix(".")
