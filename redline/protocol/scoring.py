"""`POST /v1/score` (vLLM) and `/rerank` (Jina, Cohere): how well texts fit a question."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, Field, GetJsonSchemaHandler, field_validator, model_validator
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from redline.protocol.embeddings import MAX_INPUTS, EmbeddingUsage
from redline.protocol.generation import MAX_PRIORITY
from redline.protocol.wire import RequestModel, ResponseModel, invalid

ScoredText = Annotated[str, Field(min_length=1)]
Texts = Annotated[list[ScoredText], Field(min_length=1, max_length=MAX_INPUTS)]

Pairs = list[tuple[str, str]]  # question, document


class PairsRequest(RequestModel):
    """What both have in common."""

    ignored: ClassVar[frozenset[str]] = frozenset({"user"})
    unsupported: ClassVar[Mapping[str, tuple[object, ...]]] = {
        "add_special_tokens": (True,),
        "chat_template": (),
        "chat_template_kwargs": ({},),
        "instruction": (),
        "mm_processor_kwargs": ({},),
        "request_id": (),
        "softmax_normalize": (),
        "truncate_prompt_tokens": (),
        "truncation_side": (),
        "use_activation": (True,),
    }

    model: Annotated[str, Field(min_length=1)]
    priority: Annotated[int, Field(ge=-MAX_PRIORITY, le=MAX_PRIORITY)] = 0
    cache_salt: Annotated[str, Field(min_length=1, max_length=256)] | None = None

    def pairs(self) -> Pairs:
        """What is scored."""
        raise AssertionError(f"{type(self).__name__} has no pairs")

    def name_of(self, pair: int) -> str:
        """The field that holds the document of a pair."""
        raise AssertionError(f"{type(self).__name__} has no pairs")


class ScoreRequest(PairsRequest):
    """`text_1` is the question, or one for each of `text_2`, the documents. vLLM's newer names of the two are
    `queries` and `documents`."""

    newer_names: ClassVar[Mapping[str, str]] = {"text_1": "queries", "text_2": "documents"}

    text_1: Texts
    text_2: Texts

    @model_validator(mode="before")
    @classmethod
    def _newer_names(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        renamed = dict(data)
        for old, new in cls.newer_names.items():
            if renamed.get(new) is None:
                continue
            if renamed.get(old) is not None:
                raise invalid("twice", f"it is another name of {old}; send one of them", new, renamed)
            renamed[old] = renamed.pop(new)
        return renamed

    @field_validator("text_1", "text_2", mode="before", json_schema_input_type=ScoredText | Texts)
    @classmethod
    def _lists(cls, value: object) -> object:
        return [value] if isinstance(value, str) else value

    @model_validator(mode="after")
    def _fit(self) -> ScoreRequest:
        if len(self.text_1) not in (1, len(self.text_2)):
            advice = f"it should be one text, or {len(self.text_2)} as text_2 has"
            raise invalid("pairs", advice, "text_1", {"text_1": self.text_1})
        return self

    @classmethod
    def __get_pydantic_json_schema__(
        cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        """One name of each text is there, and not null."""
        schema = super().__get_pydantic_json_schema__(core_schema, handler)
        described = handler.resolve_ref_schema(schema)
        fields, one_of_each = described["properties"], []
        for old, new in cls.newer_names.items():
            texts = fields[old]
            fields[old] = fields[new] = {"anyOf": [*texts["anyOf"], {"type": "null"}]}
            given = [{"properties": {name: texts}, "required": [name]} for name in (old, new)]
            one_of_each.append({"oneOf": given})
        described["required"] = [name for name in described["required"] if name not in cls.newer_names]
        described["allOf"] = one_of_each
        return schema

    @classmethod
    def unknown_names(cls, data: Mapping[str, object]) -> set[str]:
        return super().unknown_names(data) - set(cls.newer_names.values())

    def pairs(self) -> Pairs:
        questions = self.text_1 * (len(self.text_2) if len(self.text_1) == 1 else 1)
        return list(zip(questions, self.text_2, strict=True))

    def name_of(self, pair: int) -> str:
        return f"text_2[{pair}]"


class DocumentObject(BaseModel):
    """A document with members, of which the text is looked at; for the description of the API."""

    text: ScoredText


Documents = Annotated[list[ScoredText | DocumentObject], Field(min_length=1, max_length=MAX_INPUTS)]


class RerankRequest(PairsRequest):
    """`documents` are texts, or objects with a `text`. `top_n`: how many of the best are told of."""

    unsupported: ClassVar[Mapping[str, tuple[object, ...]]] = {
        **PairsRequest.unsupported,
        "max_chunks_per_doc": (),
        "max_tokens_per_doc": (),
        "rank_fields": (["text"],),
    }

    query: ScoredText
    documents: Texts
    top_n: Annotated[int, Field(ge=0, lt=2**31)] = 0
    return_documents: bool = True

    @field_validator("documents", mode="before", json_schema_input_type=Documents)
    @classmethod
    def _texts(cls, value: object) -> object:
        if not isinstance(value, list):
            return value
        return [each.get("text") if isinstance(each, dict) else each for each in value]

    def pairs(self) -> Pairs:
        return [(self.query, document) for document in self.documents]

    def name_of(self, pair: int) -> str:
        return f"documents[{pair}]"


class Score(ResponseModel):
    """How well one document fits its question."""

    index: int
    object: Literal["score"] = "score"
    score: float


class ScoreResponse(ResponseModel):
    """The scores in the order of the pairs."""

    id: str
    object: Literal["list"] = "list"
    created: int
    model: str
    data: list[Score]
    usage: EmbeddingUsage


class RankedDocument(ResponseModel):
    """The document itself."""

    text: str


class RankedResult(ResponseModel):
    """One document, by its place in the request."""

    index: int
    relevance_score: float
    document: RankedDocument | None = None


class RerankResponse(ResponseModel):
    """The best first."""

    id: str
    model: str
    results: list[RankedResult]
    usage: EmbeddingUsage
