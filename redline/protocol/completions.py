"""`POST /v1/completions`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import (
    ConfigDict,
    FailFast,
    Field,
    SkipValidation,
    TypeAdapter,
    ValidationError,
    field_validator,
    model_validator,
)

from redline.protocol.generation import GenerationRequest
from redline.protocol.usage import Usage
from redline.protocol.wire import ResponseModel, invalid

DEFAULT_MAX_TOKENS = 16

Prompts = list[str] | list[list[int]]
_TEXTS: TypeAdapter[Prompts] = TypeAdapter(Annotated[list[str], FailFast()], config=ConfigDict(strict=True))
_ID_LISTS: TypeAdapter[Prompts] = TypeAdapter(
    Annotated[list[Annotated[list[Annotated[int, Field(ge=0, lt=2**31)]], FailFast()]], FailFast()],
    config=ConfigDict(strict=True),
)


class CompletionRequest(GenerationRequest):
    """`prompt` may be a text, a list of texts, token ids or a list of lists of token ids."""

    unsupported: ClassVar[Mapping[str, tuple[object, ...]]] = {
        **GenerationRequest.unsupported,
        "suffix": ("",),
        "add_special_tokens": (True,),
    }

    prompt: SkipValidation[Prompts]  # the validator below has looked at every entry
    max_tokens: Annotated[int, Field(ge=1, lt=2**31)] | None = DEFAULT_MAX_TOKENS
    logprobs: Annotated[int, Field(ge=0, le=5)] | None = None
    best_of: Annotated[int, Field(ge=1, le=20)] | None = None
    echo: bool = False

    @field_validator("prompt", mode="before")
    @classmethod
    def _list_of_prompts(cls, value: object) -> Prompts:
        """Every form as a list of texts or lists of ids; the compiled validator walks long lists."""
        if isinstance(value, str):
            return [value]
        if isinstance(value, list) and value:
            first = value[0]
            form = _TEXTS if isinstance(first, str) else _ID_LISTS
            try:
                return form.validate_python(value if isinstance(first, str | list) else [value])
            except ValidationError:
                pass
        raise invalid("prompt", "it should be text, token ids, or a list of either, and not be empty")

    @model_validator(mode="after")
    def _agree(self) -> CompletionRequest:
        if self.best_of is not None and self.best_of != self.n:
            data: dict[str, Any] = {"best_of": self.best_of}
            raise invalid("unsupported", f"only best_of equal to n ({self.n}) is supported", "best_of", data)
        if self.echo and self.logprobs is not None:
            raise invalid(
                "unsupported", "echo together with logprobs is not supported", "echo", {"echo": True}
            )
        return self


class CompletionLogprobs(ResponseModel):
    """Parallel lists, one entry per token. `text_offset` counts characters from the start of the text."""

    text_offset: list[int] = []
    token_logprobs: list[float | None] = []
    tokens: list[str] = []
    top_logprobs: list[dict[str, float] | None] | None = None


class CompletionChoice(ResponseModel):
    """One choice of one prompt, whole or a chunk of it; `index` is prompt * n + choice."""

    index: int = 0
    text: str = ""
    logprobs: CompletionLogprobs | None = None
    finish_reason: str | None = None
    stop_reason: str | int | None = None
    prompt_token_ids: list[int] | None = None
    token_ids: list[int] | None = None


class CompletionResponse(ResponseModel):
    """The whole answer, or one event of a stream: both have this shape."""

    id: str = ""
    object: Literal["text_completion"] = "text_completion"
    created: int = 0
    model: str = ""
    choices: list[CompletionChoice]
    usage: Usage | None = None
