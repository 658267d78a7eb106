"""StreamedEvents: the events of a stream as bytes. Most differ from the one before by their text alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Generic, TypeVar

from pydantic_core import to_json

from redline.protocol.generation import GenerationRequest
from redline.protocol.sse import LINE_BREAKS, encode_event
from redline.protocol.wire import ResponseModel
from redline.server.answer import TEXT, Answer

if TYPE_CHECKING:
    from redline.engine.outputs import Delta

R = TypeVar("R", bound=GenerationRequest)

_TEXT = to_json(TEXT)


class TextEvent:
    """One event of a stream with a hole for its text: made once for a choice, then filled."""

    def __init__(self, event: bytes) -> None:
        """`event` holds TEXT as a string; what stands before it came from the server."""
        self._head, found, self._tail = event.rpartition(_TEXT)
        assert found, f"{event = }"

    def fill(self, text: str) -> bytes:
        """The event with this text."""
        data = to_json(text)
        if not data.isascii():
            data = data.decode().translate(LINE_BREAKS).encode()
        return self._head + data + self._tail


class StreamedEvents(Generic[R]):
    """Asks an answer for its chunks, and where only text can follow, once for a choice."""

    def __init__(self, answer: Answer[R], encode: Callable[[ResponseModel], bytes] | None = None) -> None:
        self._answer = answer
        self._encode = encode or (lambda chunk: encode_event(chunk.to_json()))
        self._texts: dict[int, TextEvent | None] = {}  # by choice; None: it needs whole chunks

    def of(self, prompt: int, delta: Delta) -> bytes:
        """The events of one delta; none where nothing is to be said yet."""
        answer = self._answer
        answer.count(prompt, delta)
        index = answer.job.choice(prompt, delta)
        if delta.finish_reason is None and (event := self._texts.get(index)) is not None:
            return event.fill(answer.new_text(delta))
        events = b"".join(map(self._encode, answer.chunks(prompt, delta)))
        if index not in self._texts:
            chunk = answer.text_chunk(index)
            self._texts[index] = None if chunk is None else TextEvent(self._encode(chunk))
        return events
