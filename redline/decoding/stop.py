"""StopStrings: ends a text at the first of several strings, without letting a part of one out before."""

from __future__ import annotations

from collections.abc import Sequence


class StopStrings:
    """Scans text as it arrives. `include`: the stop string itself is part of the text.

    The string that is complete first wins, of two that end at the same place the longer one. The result does
    not depend on how the text was cut into pieces.
    """

    def __init__(self, stops: Sequence[str], *, include: bool = False) -> None:
        self._matchers = [_Matcher(stop) for stop in dict.fromkeys(stops)]
        self._include = include
        self._held = ""
        self._matched: str | None = None

    def push(self, text: str) -> tuple[str, str | None]:
        """The text that is safe to show now, and the stop string once it is complete; nothing follows it."""
        if self._matched is not None:
            return "", self._matched
        if not self._matchers:
            return text, None
        seen = self._held + text
        for end, char in enumerate(text, len(self._held) + 1):
            done = [matcher.stop for matcher in self._matchers if matcher.advance(char)]
            if done:
                self._matched = max(done, key=len)
                self._held = ""
                return seen[: end if self._include else end - len(self._matched)], self._matched
        safe = len(seen) - max(matcher.length for matcher in self._matchers)
        self._held = seen[safe:]
        return seen[:safe], None

    def flush(self) -> str:
        """What was held back, when the text ends for another reason."""
        held, self._held = self._held, ""
        return held


class _Matcher:
    """How much of one stop string the text ends with (Knuth, Morris, Pratt 1977).

    The table grows with the longest match seen: a huge stop string costs nothing until the text spells it.
    """

    def __init__(self, stop: str) -> None:
        assert stop, "an empty stop string matches everywhere"
        self.stop = stop
        self.length = 0
        self._shorter = [
            0
        ]  # [k - 1]: the longest proper prefix that is also a suffix of the first k characters

    def advance(self, char: str) -> bool:
        """Take one more character; True when the stop string is complete."""
        self.length = self._step(self.length, char)
        return self.length == len(self.stop)

    def _step(self, length: int, char: str) -> int:
        while length and self.stop[length] != char:
            length = self._shorter[length - 1]
        if self.stop[length] != char:
            return 0
        if length and length == len(self._shorter):
            self._shorter.append(self._step(self._shorter[-1], char))
        return length + 1
