"""`POST /v1/completions`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

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

from redline.protocol.generation import Count, GenerationRequest, ScoredChoice
from redline.protocol.prompt_logprobs import PromptLogprobs
from redline.protocol.usage import Usage
from redline.protocol.wire import ResponseModel, invalid

DEFAULT_MAX_TOKENS = 16

Prompts = list[str] | list[list[int]]
TokenId = Annotated[int, Field(ge=0, lt=2**31)]
TokenIds = Annotated[list[TokenId], Field(min_length=1)]
PromptForms = (
    str
    | Annotated[list[str], Field(min_length=1)]
    | TokenIds
    | Annotated[list[TokenIds], Field(min_length=1)]
)
_TEXTS: TypeAdapter[Prompts] = TypeAdapter(Annotated[list[str], FailFast()], config=ConfigDict(strict=True))
_ID_LISTS: TypeAdapter[Prompts] = TypeAdapter(
    Annotated[list[Annotated[list[TokenId], FailFast()]], FailFast()],
    config=ConfigDict(strict=True),
)


def list_of_prompts(value: object) -> Prompts:
    """Every form of prompts as a list of texts or lists of ids; the compiled validator walks long lists.

    For validators: raises PydanticCustomError.
    """
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


class CompletionRequest(GenerationRequest):
    """`prompt` may be a text, a list of texts, token ids or a list of lists of token ids."""

    unsupported: ClassVar[Mapping[str, tuple[object, ...]]] = {
        **GenerationRequest.unsupported,
        "add_special_tokens": (True,),
        "include_reasoning": (True,),
    }

    prompt: SkipValidation[Prompts]  # the validator below has looked at every entry
    max_tokens: Count | None = DEFAULT_MAX_TOKENS
    logprobs: Annotated[int, Field(ge=0, le=5)] | None = None
    echo: bool = False
    suffix: str = ""

    @field_validator("prompt", mode="before", json_schema_input_type=PromptForms)
    @classmethod
    def _prompts(cls, value: object) -> Prompts:
        return list_of_prompts(value)

    @model_validator(mode="after")
    def _agree(self) -> CompletionRequest:
        if self.max_tokens == 0 and not self.echo and self.prompt_logprobs is None:
            advice = "it should be at least 1, or echo or prompt_logprobs be asked for"
            raise invalid("limits", advice, "max_tokens", {"max_tokens": 0})
        if self.suffix and self.truncate_prompt_tokens is not None:
            data = {"truncate_prompt_tokens": self.truncate_prompt_tokens}
            advice = "a prompt with a suffix cannot be cut; leave one of them out"
            raise invalid("truncation", advice, "truncate_prompt_tokens", data)
        return self

    @property
    def wanted_prompt_logprobs(self) -> int | None:
        """The likeliest tokens to list for each one of the prompt; `echo` with `logprobs` wants some too."""
        wanted = [self.prompt_logprobs, self.logprobs if self.echo else None]
        return max((count for count in wanted if count is not None), default=None)


class CompletionLogprobs(ResponseModel):
    """Parallel lists, one entry per token. `text_offset` counts characters from the start of the text."""

    text_offset: list[int] = []
    token_logprobs: list[float | None] = []
    tokens: list[str] = []
    top_logprobs: list[dict[str, float] | None] | None = None


class CompletionChoice(ScoredChoice):
    """One choice of one prompt, whole or a chunk of it; `index` is prompt * n + choice."""

    index: int = 0
    text: str = ""
    logprobs: CompletionLogprobs | None = None
    finish_reason: str | None = None
    stop_reason: str | int | None = None
    prompt_token_ids: list[int] | None = None
    token_ids: list[int] | None = None
    prompt_logprobs: PromptLogprobs | None = None


class CompletionResponse(ResponseModel):
    """The whole answer, or one event of a stream: both have this shape."""

    id: str = ""
    object: Literal["text_completion"] = "text_completion"
    created: int = 0
    model: str = ""
    choices: list[CompletionChoice]
    usage: Usage | None = None
