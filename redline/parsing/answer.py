"""AnswerParser: reasoning first, and tool calls in what is not reasoning."""

from __future__ import annotations

from redline.parsing.events import Content, Event
from redline.parsing.parser import Parser


class AnswerParser(Parser):
    """Two parsers, one behind the other: the content of the first is the text of the second."""

    def __init__(self, reasoning: Parser, tools: Parser) -> None:
        self._reasoning = reasoning
        self._tools = tools

    @property
    def thinking(self) -> bool:
        return self._reasoning.thinking

    def push(self, text: str) -> list[Event]:
        return self._on(self._reasoning.push(text))

    def finish(self) -> list[Event]:
        return [*self._on(self._reasoning.finish()), *self._tools.finish()]

    def _on(self, events: list[Event]) -> list[Event]:
        found: list[Event] = []
        for event in events:
            found += self._tools.push(event.text) if isinstance(event, Content) else [event]
        return found
