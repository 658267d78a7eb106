"""`POST /v1/embeddings`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

from pydantic import Field, SkipValidation, field_validator

from redline.protocol.completions import PromptForms, Prompts, list_of_prompts
from redline.protocol.generation import MAX_PRIORITY
from redline.protocol.truncation import TruncationFields
from redline.protocol.wire import ResponseModel, invalid

MAX_INPUTS = 2048


class EmbeddingRequest(TruncationFields):
    """`input` may be a text, a list of texts, token ids or a list of lists of token ids."""

    ignored: ClassVar[frozenset[str]] = frozenset({"user"})
    unsupported: ClassVar[Mapping[str, tuple[object, ...]]] = {
        "add_special_tokens": (True,),
        "embed_dtype": ("float32",),
        "endianness": ("native", "little"),
        "normalize": (True,),
        "request_id": (),
        "truncation_side": ("left",),
    }

    model: Annotated[str, Field(min_length=1)]
    input: SkipValidation[Prompts]  # the validator below has looked at every entry
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: Annotated[int, Field(ge=1, lt=2**31)] | None = None
    priority: Annotated[int, Field(ge=-MAX_PRIORITY, le=MAX_PRIORITY)] = 0
    cache_salt: Annotated[str, Field(min_length=1, max_length=256)] | None = None

    @field_validator("input", mode="before", json_schema_input_type=PromptForms)
    @classmethod
    def _inputs(cls, value: object) -> Prompts:
        prompts = list_of_prompts(value)
        if len(prompts) > MAX_INPUTS:
            raise invalid("input", f"it should have at most {MAX_INPUTS} texts")
        return prompts


class Embedding(ResponseModel):
    """The vector of one input: numbers, or the base64 of little-endian float32."""

    object: Literal["embedding"] = "embedding"
    index: int = 0
    embedding: list[float] | str


class EmbeddingUsage(ResponseModel):
    """Token counts; nothing is generated."""

    prompt_tokens: int = 0
    total_tokens: int = 0


class EmbeddingResponse(ResponseModel):
    """The vectors in the order of the inputs."""

    object: Literal["list"] = "list"
    data: list[Embedding]
    model: str = ""
    usage: EmbeddingUsage
