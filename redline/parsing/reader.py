"""Reader: text that arrives in pieces, read as if all of it were there.

A format is written down as one straight walk over the text. The walk is a generator: where it needs more text
than has come it yields, and goes on when there is more. What it finds depends on characters alone, never on
where a piece ended, and every character is looked at once or, in a tag, a few times.
"""

from __future__ import annotations

import re
from collections.abc import Generator
from typing import TypeVar

T = TypeVar("T")
Steps = Generator[None, None, T]  # yields when it needs more text, returns a T

_SPACE = re.compile(r"[ \t\r\n]+")


class Reader:
    """What has come and is not read yet. While `keep` is on, what is read is remembered."""

    def __init__(self) -> None:
        self._text = ""
        self._at = 0
        self._ended = False
        self._kept: list[str] | None = None

    def feed(self, text: str) -> None:
        """More text. What is still unread is short: a part of a tag at most."""
        self._text = self._text[self._at :] + text
        self._at = 0

    def end(self) -> None:
        """No more text comes."""
        self._ended = True

    def keep(self) -> None:
        """Remember what is read from here on, and forget what was remembered."""
        self._kept = []

    def kept(self) -> str:
        """What was read since `keep`; nothing is remembered any more."""
        kept, self._kept = self._kept or [], None
        return "".join(kept)

    def peek(self) -> Steps[str]:
        """The next character, which stays; "" at the end of the text."""
        while self._at == len(self._text):
            if self._ended:
                return ""
            yield
        return self._text[self._at]

    def take(self, count: int = 1) -> str:
        """Read so many characters that are there."""
        taken = self._text[self._at : self._at + count]
        self._at += count
        if self._kept is not None:
            self._kept.append(taken)
        return taken

    def take_all(self) -> str:
        """Read all that is there."""
        return self.take(len(self._text) - self._at)

    def run(self, pattern: re.Pattern[str], limit: int) -> Steps[str]:
        """Read the characters that `pattern`, a run of one class of them, matches: `limit` at most."""
        parts, count = [], 0
        while count < limit and (yield from self.peek()):
            match = pattern.match(self._text, self._at, self._at + limit - count)
            if match is None:
                break
            parts.append(self.take(len(match[0])))
            count += len(match[0])
        return "".join(parts)

    def pieces(self, pattern: re.Pattern[str]) -> Steps[str]:
        """Like `run` without a limit, but only what is there: at least one character, if one matches."""
        if not (yield from self.peek()):
            return ""
        match = pattern.match(self._text, self._at)
        return self.take(len(match[0])) if match else ""

    def skip_space(self) -> Steps[None]:
        """Read white space as JSON has it."""
        while (yield from self.pieces(_SPACE)):
            pass

    def literal(self, tag: str) -> Steps[bool]:
        """Read `tag` if the text goes on with it, and nothing if it does not."""
        while True:
            there = self._text[self._at : self._at + len(tag)]
            if there == tag:
                self.take(len(tag))
                return True
            if self._ended or not tag.startswith(there):
                return False
            yield

    def before(self, tag: str) -> Steps[tuple[str, bool]]:
        """Text that lies before `tag` and does not begin it, as much as is there; and whether `tag` follows.

        It is read, the tag is not. No text and no tag: the end.
        """
        while True:
            found = self._text.find(tag, self._at)
            safe = found if found >= 0 else len(self._text) - self._begun(tag)
            if found >= 0 or safe > self._at or self._ended:
                return self.take(safe - self._at), found >= 0
            yield

    def _begun(self, tag: str) -> int:
        """How many characters of `tag` the text ends with. At the end of all text it begins nothing."""
        if self._ended:
            return 0
        most = min(len(tag) - 1, len(self._text) - self._at)
        return next((count for count in range(most, 0, -1) if self._text.endswith(tag[:count])), 0)
