"""Parser: takes text as it comes and gives events. NullParser: all of it is content."""

from __future__ import annotations

from abc import ABC, abstractmethod

from redline.parsing.events import Content, Event


class Parser(ABC):
    """Parses one answer. However its text is cut into pieces, the events put together are the same.

    Text that may still become a tag is held back, and is given as content once it cannot. `finish` is called
    once, after the last piece.
    """

    @abstractmethod
    def push(self, text: str) -> list[Event]:
        """What is certain with this piece of text."""

    @abstractmethod
    def finish(self) -> list[Event]:
        """What was held back."""

    @property
    def thinking(self) -> bool:
        """True while the model writes down its reasoning."""
        return False


class NullParser(Parser):
    """Looks for nothing."""

    def push(self, text: str) -> list[Event]:
        return [Content(text)]

    def finish(self) -> list[Event]:
        return []
