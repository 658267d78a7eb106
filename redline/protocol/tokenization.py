"""`POST /tokenize` and `/detokenize` in the shapes of vLLM, llama.cpp and TGI; `GET /tokenizer_info`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar

from pydantic import FailFast, Field, TypeAdapter, model_validator

from redline.protocol.chat import MAX_MESSAGES
from redline.protocol.messages import ChatMessage
from redline.protocol.wire import RequestModel, ResponseModel, invalid

MAX_CHARS = 2**20  # of a text; tokenising so many takes half a second
MAX_TOKENS = 2**20  # of a list
SOURCES = ("prompt", "messages", "content", "inputs")

Text = Annotated[str, Field(max_length=MAX_CHARS)]
TokenId = Annotated[int, Field(ge=0, lt=2**31)]


class TokenizeRequest(RequestModel):
    """One text: vLLM calls it `prompt`, llama.cpp `content`, TGI `inputs`. Or the `messages` of a chat.

    The answer has the shape that goes with the name. Control tokens spelled in a text are control tokens
    unless `parse_special` is false; then they are plain text, as in the prompt of a completion.
    """

    ignored: ClassVar[frozenset[str]] = frozenset({"parameters", "stream"})  # TGI: of the generation
    unsupported: ClassVar[Mapping[str, tuple[object, ...]]] = {
        "continue_final_message": (False,),
        "chat_template": (),
        "chat_template_kwargs": ({},),
        "documents": ([],),
        "mm_processor_kwargs": ({},),
        "tools": ([],),
    }

    model: Annotated[str, Field(min_length=1)] | None = None
    prompt: Text | None = None
    messages: Annotated[list[ChatMessage], Field(min_length=1, max_length=MAX_MESSAGES)] | None = None
    content: Text | None = None
    inputs: Text | None = None
    add_special_tokens: bool | None = None
    add_special: bool = False
    add_generation_prompt: bool = True
    parse_special: bool = True
    with_pieces: bool = False
    return_token_strs: bool = False

    @model_validator(mode="after")
    def _one_source(self) -> TokenizeRequest:
        given = [name for name in SOURCES if getattr(self, name) is not None]
        if len(given) != 1:
            advice = f"send exactly one of {', '.join(SOURCES)}"
            raise invalid("source", advice, given[1] if given else "prompt", {})
        if self.messages is not None and self.add_special_tokens:
            data = {"add_special_tokens": True}
            raise invalid("unsupported", "the chat template adds them", "add_special_tokens", data)
        return self

    @property
    def text(self) -> str:
        """The text, under whichever name it came; empty beside messages."""
        return self.prompt or self.content or self.inputs or ""

    @property
    def with_special_tokens(self) -> bool:
        """Whether what the model wants before and after a prompt is added: llama.cpp's default differs."""
        return self.add_special if self.content is not None else self.add_special_tokens is not False


class Tokenized(ResponseModel):
    """The answer to `prompt` and `messages`. `token_strs`: the vocabulary's own spelling."""

    count: int
    max_model_len: int
    tokens: list[int]
    token_strs: list[str] | None = None


class Piece(ResponseModel):
    """A token with its text, or with its bytes where they are part of a character."""

    id: int
    piece: str | list[int]


class TokenizedContent(ResponseModel):
    """The answer to `content`."""

    tokens: list[int] | list[Piece]


class TokenSpan(ResponseModel):
    """A token, and the characters start .. stop - 1 of the input that it stands for, whole or in part."""

    id: int
    text: str
    start: int
    stop: int


TOKEN_SPANS = TypeAdapter(list[TokenSpan])  # the answer to `inputs`


class DetokenizeRequest(RequestModel):
    """Token ids; the shape is the same in vLLM and llama.cpp."""

    model: Annotated[str, Field(min_length=1)] | None = None
    tokens: Annotated[list[TokenId], FailFast(), Field(max_length=MAX_TOKENS)]
    skip_special_tokens: bool = False


class Detokenized(ResponseModel):
    """The same text under both names: `prompt` for clients of vLLM, `content` for those of llama.cpp."""

    prompt: str
    content: str


class TokenizerInfo(ResponseModel):
    """What a client needs to render chats itself; null: the model has no such token."""

    tokenizer_class: str
    vocab_size: int
    model_max_length: int
    bos_token: str | None
    eos_token: str | None
    unk_token: str | None
    pad_token: str | None
    chat_template: str | None
