"""ChatOutput: one answer of a chat while it grows, in the parts that clients get."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from redline.parsing.events import CallArguments, CallStart, Content, Event, Reasoning
from redline.protocol.chat import AssistantMessage, ChatDelta
from redline.protocol.tools import CalledFunction, ToolCall, ToolCallDelta
from redline.server.spoken import Spoken

if TYPE_CHECKING:
    from redline.engine.outputs import Delta


@dataclass(slots=True)
class _Call:
    """What came of one call since the last chunk; id and name only with its beginning."""

    id: str | None = None
    name: str | None = None
    arguments: list[str] = field(default_factory=list)

    @property
    def function(self) -> CalledFunction:
        arguments = "".join(self.arguments)
        if self.name is None:
            return CalledFunction(arguments=arguments)
        return CalledFunction(name=self.name, arguments=arguments)

    def delta(self, index: int) -> ToolCallDelta:
        if self.id is None:
            return ToolCallDelta(index=index, function=self.function)
        return ToolCallDelta(index=index, id=self.id, type="function", function=self.function)

    def whole(self) -> ToolCall:
        assert self.id is not None
        return ToolCall(id=self.id, type="function", function=self.function)


class ChatOutput(ABC):
    """Takes what the engine says and keeps what the client has not got yet."""

    @abstractmethod
    def add(self, delta: Delta) -> None:
        """Take the next piece of text; the last one has a finish reason."""

    @abstractmethod
    def delta(self) -> ChatDelta:
        """What is new since the last one, for a chunk of a stream. Members without news are absent."""

    @abstractmethod
    def message(self) -> AssistantMessage:
        """All that came, for a whole answer."""

    @property
    def num_reasoning_tokens(self) -> int:
        """Those of its tokens that were reasoning."""
        return 0

    def finish_reason(self, reason: str | None) -> str | None:
        """Why the answer ended, in the words of the API."""
        return reason


class PlainOutput(ChatOutput):
    """All text is content: nothing is looked for."""

    def __init__(self) -> None:
        self._text: list[str] = []

    def add(self, delta: Delta) -> None:
        if delta.text or not delta.finish_reason:
            self._text.append(delta.text)

    def delta(self) -> ChatDelta:
        if not self._text:
            return ChatDelta()
        text, self._text = "".join(self._text), []
        return ChatDelta(content=text)

    def message(self) -> AssistantMessage:
        return AssistantMessage(role="assistant", content="".join(self._text), refusal=None)


class ParsedOutput(ChatOutput):
    """Content, reasoning and calls, each in its member, as the answer has them."""

    def __init__(self, said: Spoken) -> None:
        self._said = said
        self._clear()

    def add(self, delta: Delta) -> None:
        self._said.add(delta)
        for event in self._said.take():
            self._take(event)

    @property
    def num_reasoning_tokens(self) -> int:
        return self._said.num_reasoning_tokens

    def finish_reason(self, reason: str | None) -> str | None:
        return self._said.finish_reason(reason)

    def delta(self) -> ChatDelta:
        members: dict[str, Any] = self._reasoning_members()
        if self._content:
            members["content"] = "".join(self._content)
        if self._calls:
            members["tool_calls"] = [call.delta(index) for index, call in self._calls.items()]
        self._clear()
        return ChatDelta(**members)

    def message(self) -> AssistantMessage:
        """Its content is null only beside reasoning or calls."""
        members: dict[str, Any] = self._reasoning_members()
        if self._calls:
            members["tool_calls"] = [call.whole() for call in self._calls.values()]
        content = "".join(self._content) or (None if members else "")
        return AssistantMessage(role="assistant", content=content, refusal=None, **members)

    def _reasoning_members(self) -> dict[str, Any]:
        reasoning = "".join(self._reasoning)
        return {"reasoning": reasoning, "reasoning_content": reasoning} if reasoning else {}

    def _clear(self) -> None:
        self._content: list[str] = []
        self._reasoning: list[str] = []
        self._calls: dict[int, _Call] = {}

    def _take(self, event: Event) -> None:
        match event:
            case Content(text):
                self._content.append(text)
            case Reasoning(text):
                self._reasoning.append(text)
            case CallStart(index, name, call_id):
                self._calls[index] = _Call(call_id, name)
            case CallArguments(index, text):
                self._calls.setdefault(index, _Call()).arguments.append(text)
