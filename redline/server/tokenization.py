"""`POST /tokenize`, `POST /detokenize` and `GET /tokenizer_info`."""

from __future__ import annotations

from itertools import accumulate, islice, pairwise

from starlette.requests import Request
from starlette.responses import Response

from redline.protocol.tokenization import (
    TOKEN_SPANS,
    Detokenized,
    DetokenizeRequest,
    Piece,
    Tokenized,
    TokenizedContent,
    TokenizeRequest,
    TokenizerInfo,
    TokenSpan,
)
from redline.server.call import ComputeEndpoint, check_known
from redline.server.config import ServerConfig
from redline.server.engine import ServedTokenizer
from redline.server.errors import HTTPError
from redline.server.service import Service

MAX_ADDED = 4  # tokens before those of a text


class TokenizeEndpoint(ComputeEndpoint[TokenizeRequest]):
    """Text or messages to token ids. They may be longer than the context: somebody may want to cut them."""

    request_type = TokenizeRequest

    def model_of(self, request: TokenizeRequest) -> str | None:
        return request.model

    def answer(self, request: TokenizeRequest) -> bytes | str:
        ids = self._ids(request)
        if request.content is not None:
            return self._content(request, ids).to_json()
        if request.inputs is not None:
            return TOKEN_SPANS.dump_json(token_spans(self.engine.tokenizer, request.inputs, ids))
        return self._tokenized(request, ids).to_json()

    def _ids(self, request: TokenizeRequest) -> list[int]:
        if request.messages is not None:
            messages = [message.for_template() for message in request.messages]
            generation_prompt = request.add_generation_prompt
            return self.engine.tokenize_chat(messages, add_generation_prompt=generation_prompt)
        return self.engine.tokenizer.encode(
            request.text, request.with_special_tokens, parse_special=request.parse_special
        )

    def _content(self, request: TokenizeRequest, ids: list[int]) -> TokenizedContent:
        if not request.with_pieces:
            return TokenizedContent(tokens=ids)
        token_bytes = self.engine.tokenizer.token_bytes
        return TokenizedContent(tokens=[Piece(id=each, piece=_piece(token_bytes(each))) for each in ids])

    def _tokenized(self, request: TokenizeRequest, ids: list[int]) -> Tokenized:
        tokenized = Tokenized(count=len(ids), max_model_len=self.engine.max_context, tokens=ids)
        if request.return_token_strs:
            tokenized.token_strs = [self.engine.tokenizer.id_to_token(each) or "" for each in ids]
        return tokenized


class DetokenizeEndpoint(ComputeEndpoint[DetokenizeRequest]):
    """Token ids to text."""

    request_type = DetokenizeRequest

    def model_of(self, request: DetokenizeRequest) -> str | None:
        return request.model

    def answer(self, request: DetokenizeRequest) -> bytes | str:
        tokenizer = self.engine.tokenizer
        check_known(request.tokens, tokenizer.vocab_size, "tokens")
        text = tokenizer.decode(request.tokens, request.skip_special_tokens)
        return Detokenized(prompt=text, content=text).to_json()


class TokenizerInfoEndpoint:
    """Tells the chat template, which may be private; so the operator decides whether it does."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def get(self, request: Request) -> Response:
        """The tokenizer's special tokens and its chat template."""
        check_info_is_on(self._service.config)
        return Response(_info(self._service).to_json(), media_type="application/json")


def check_info_is_on(config: ServerConfig) -> None:
    """Raises HTTPError 501 when the operator has not switched it on."""
    if not config.tokenizer_info:
        raise HTTPError(
            501,
            "tokenizer_info is off here; the server's option --tokenizer-info turns it on",
            code="off",
        )


def _info(service: Service) -> TokenizerInfo:
    tokenizer = service.engine.tokenizer
    special = tokenizer.template_tokens
    return TokenizerInfo(
        tokenizer_class="redline",
        vocab_size=tokenizer.vocab_size,
        model_max_length=service.engine.max_context,
        bos_token=special.get("bos_token"),
        eos_token=special.get("eos_token"),
        unk_token=special.get("unk_token"),
        pad_token=special.get("pad_token"),
        chat_template=tokenizer.chat_template,
    )


def token_spans(tokenizer: ServedTokenizer, text: str, ids: list[int]) -> list[TokenSpan]:
    """The characters that each token stands for; a part of a character stands for all of it.

    They are those of `text`, unless the tokenizer changes what it reads: then those of the text it makes of
    it. Control tokens that were added stand for none.
    """
    parts = [tokenizer.token_bytes(each) for each in ids]
    spelled = b"".join(parts)
    skip = _start_of(text.encode(), spelled, parts)
    if skip is None:
        skip, text = 0, spelled.decode(errors="replace")
    char_of_byte = [place for place, char in enumerate(text) for _ in range(_num_bytes(char))]
    ends = accumulate(map(len, parts), initial=-skip)
    both = zip(ids, pairwise(ends), strict=True)
    return [_span(token_id, text, char_of_byte, start, stop) for token_id, (start, stop) in both]


def _start_of(text: bytes, spelled: bytes, parts: list[bytes]) -> int | None:
    """Bytes of added tokens, and of an added space, before those of a text; None: they are not its bytes."""
    starts = list(islice(accumulate(map(len, parts), initial=0), MAX_ADDED + 1))
    after_space = [start + 1 for start in starts if spelled[start : start + 1] == b" "]
    return next((start for start in starts + after_space if spelled.startswith(text, start)), None)


def _num_bytes(char: str) -> int:
    return len(char.encode())


def _span(token_id: int, text: str, char_of_byte: list[int], start: int, stop: int) -> TokenSpan:
    first, last = max(start, 0), min(stop, len(char_of_byte)) - 1
    if first > last:
        return TokenSpan(id=token_id, text="", start=0, stop=0)
    begin, end = char_of_byte[first], char_of_byte[last] + 1
    return TokenSpan(id=token_id, text=text[begin:end], start=begin, stop=end)


def _piece(data: bytes) -> str | list[int]:
    try:
        return data.decode()
    except UnicodeDecodeError:
        return list(data)
