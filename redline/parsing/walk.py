"""WalkingParser: a parser that is written down as a walk over the text."""

from __future__ import annotations

from abc import abstractmethod

from redline.parsing.events import Content, Event, Reasoning, join_neighbours
from redline.parsing.parser import Parser
from redline.parsing.reader import Reader, Steps


class WalkingParser(Parser):
    """Subclasses say in `walk` how their format is read, and `emit` what they find."""

    def __init__(self) -> None:
        self.reader = Reader()
        self.space: list[str] = []
        self._found: list[Event] = []
        self._steps = self.walk()

    @abstractmethod
    def walk(self) -> Steps[None]:
        """Read the whole text."""

    def push(self, text: str) -> list[Event]:
        self.reader.feed(text)
        return self._go_on()

    def finish(self) -> list[Event]:
        self.reader.end()
        return self._go_on()

    def emit(self, event: Event) -> None:
        """Give an event, unless it is an empty text."""
        if not isinstance(event, Content | Reasoning) or event.text:
            self._found.append(event)

    def _go_on(self) -> list[Event]:
        next(self._steps, None)
        found, self._found = self._found, []
        return join_neighbours(found)

    def text_before(self, tag: str, kind: type[Content] | type[Reasoning]) -> Steps[bool]:
        """Give text up to `tag`, which is read, as `kind`; False when the text ends without it.

        White space before a tag belongs to the format: it stays in `space` until it is known what follows,
        also when this returns.
        """
        while True:
            text, follows = yield from self.reader.before(tag)
            if body := text.rstrip():
                self.emit(kind(self.held_space() + body))
            self.space.append(text[len(body) :])
            if follows:
                self.reader.take(len(tag))
                return True
            if not text:
                return False

    def held_space(self) -> str:
        """The white space that was held back; it is not held any more."""
        held = "".join(self.space)
        self.space.clear()
        return held

    def rest(self, kind: type[Content] | type[Reasoning] = Content) -> Steps[None]:
        """Give all that follows."""
        while (yield from self.reader.peek()):
            self.emit(kind(self.reader.take_all()))
