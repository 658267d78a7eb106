"""The fields that ask for an answer of a certain form, as OpenAI, vLLM, SGLang and llama.cpp name them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, NamedTuple

from pydantic import Field, model_validator

from redline.protocol.wire import RequestModel, invalid

Schema = dict[str, Any] | bool
Choices = list[str]


class Form(NamedTuple):
    """What is asked for: the field that said so, and the fields of StructuredOutputsParams it stands for."""

    field: str
    values: dict[str, Any]


class JsonSchema(RequestModel):
    """A named schema (OpenAI). The answer always keeps to it, `strict` or not."""

    name: str | None = None
    description: str | None = None
    schema_: Annotated[dict[str, Any], Field(alias="schema")]
    strict: bool | None = None


class ResponseFormat(RequestModel):
    """OpenAI's `response_format`; "structural_tag" is vLLM's and SGLang's."""

    type: Literal["text", "json_object", "json_schema", "structural_tag"]
    json_schema: JsonSchema | None = None
    structures: list[dict[str, Any]] | None = None
    triggers: list[str] | None = None

    @model_validator(mode="after")
    def _complete(self) -> ResponseFormat:
        if self.type == "json_schema" and self.json_schema is None:
            raise invalid("missing_schema", "json_schema is required with this type", "json_schema")
        return self

    def values(self) -> dict[str, Any] | None:
        """The fields of StructuredOutputsParams; None: any text."""
        if self.type == "text":
            return None
        if self.type == "json_object":
            return {"json_object": True}
        if self.type == "structural_tag":
            return {"structural_tag": {"structures": self.structures, "triggers": self.triggers}}
        assert self.json_schema is not None
        return {"json": self.json_schema.schema_}


class StructuredOutputs(RequestModel):
    """vLLM's `structured_outputs`. What is disabled is off here anyway, or there is none of it."""

    unsupported: ClassVar[Mapping[str, tuple[object, ...]]] = {"disable_additional_properties": (False,)}
    ignored: ClassVar[frozenset[str]] = frozenset({"disable_fallback", "disable_any_whitespace"})

    json_: Annotated[dict[str, Any] | str | None, Field(alias="json")] = None
    regex: str | None = None
    choice: Choices | None = None
    grammar: str | None = None
    json_object: bool | None = None
    structural_tag: dict[str, Any] | str | None = None
    whitespace_pattern: str | None = None

    def values(self) -> dict[str, Any]:
        """The fields of StructuredOutputsParams."""
        return {name.rstrip("_"): value for name, value in self if value is not None}


class StructuredFields(RequestModel):
    """At most one of these."""

    response_format: ResponseFormat | None = None  # OpenAI
    structured_outputs: StructuredOutputs | None = None  # vLLM
    guided_json: Schema | str | None = None
    guided_regex: str | None = None
    guided_choice: Choices | None = None
    guided_grammar: str | None = None
    guided_whitespace_pattern: str | None = None
    regex: str | None = None  # SGLang
    ebnf: str | None = None
    grammar: str | None = None  # llama.cpp
    json_schema: Schema | str | None = None

    @model_validator(mode="after")
    def _one_form(self) -> StructuredFields:
        forms = self._forms()
        if len(forms) > 1:
            field = forms[1].field
            advice = f"{forms[0].field} gives the answer another form; send one of them"
            raise invalid("forms", advice, field, {field: forms[1].values})
        return self

    @property
    def form(self) -> Form | None:
        """The form that the answer must have; None: any."""
        return next(iter(self._forms()), None)

    def _forms(self) -> list[Form]:
        space = self.guided_whitespace_pattern
        more = {} if space is None else {"whitespace_pattern": space}
        forms = []
        if self.response_format is not None and (values := self.response_format.values()):
            forms.append(Form("response_format", values))
        if self.structured_outputs is not None:
            forms.append(Form("structured_outputs", self.structured_outputs.values()))
        for field, name in _PLAIN.items():
            value = getattr(self, field)
            if value is not None and not (field == "grammar" and value == ""):  # llama.cpp's word for none
                forms.append(Form(field, {name: value, **more}))
        return forms


_PLAIN = {
    "guided_json": "json",
    "guided_regex": "regex",
    "guided_choice": "choice",
    "guided_grammar": "grammar",
    "regex": "regex",
    "ebnf": "grammar",
    "grammar": "grammar",
    "json_schema": "json",
}
