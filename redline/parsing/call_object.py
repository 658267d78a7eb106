"""CallObject: {"name": ..., "arguments": {...}}, the object that most formats write a call as."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from redline.parsing.json_text import read_short_string, read_value
from redline.parsing.reader import Steps

if TYPE_CHECKING:
    from redline.parsing.tool_parser import ToolParser

MAX_NAME = 64  # characters, as in requests
NAME = re.compile(r"[a-zA-Z0-9_-]+")
ARGUMENTS = ("arguments", "parameters")


def write_call(name: str, arguments: Mapping[str, Any], key: str = "arguments") -> str:
    """Such an object."""
    return json.dumps({"name": name, key: arguments}, ensure_ascii=False)


class CallObject:
    """Reads one call for `parser`, which is told when it begins and what its arguments are.

    `offered_only`: see ToolParser.call_object.
    """

    def __init__(self, parser: ToolParser, *, offered_only: bool) -> None:
        self._parser = parser
        self._reader = parser.reader
        self._offered_only = offered_only
        self._name: str | None = None
        self._early: str | None = None  # arguments that came before the name
        self._started = False

    def read(self) -> Steps[bool]:
        """True once the whole object was read, and is a call."""
        if not (yield from self._reader.literal("{")):
            return False
        while (yield from self._member()):
            yield from self._reader.skip_space()
            if not (yield from self._reader.literal(",")):
                break
        ended = (yield from self._reader.peek()) == "}"
        if ended and not self._started:
            ended = self._begin_without_arguments()
        if ended:
            self._reader.take()
            self._reader.keep()
        return ended

    def _member(self) -> Steps[bool]:
        yield from self._reader.skip_space()
        key = yield from read_short_string(self._reader, MAX_NAME)
        yield from self._reader.skip_space()
        if key is None or not (yield from self._reader.literal(":")):
            return False
        yield from self._reader.skip_space()
        if key == "name":
            return (yield from self._read_name())
        if key in ARGUMENTS and not self._started:
            return (yield from self._read_arguments())
        return (yield from read_value(self._reader, _ignore))

    def _read_name(self) -> Steps[bool]:
        name = yield from read_short_string(self._reader, MAX_NAME)
        if self._name is not None or name is None or not self._accepts(name):
            return False
        self._name = name
        if self._early is not None:
            self._begin(self._early)
        return True

    def _accepts(self, name: str) -> bool:
        if self._offered_only:
            return self._parser.offers(name)
        return NAME.fullmatch(name) is not None

    def _read_arguments(self) -> Steps[bool]:
        if (yield from self._reader.peek()) != "{" or self._early is not None:
            return False
        if self._name is not None:
            self._begin("")
            return (yield from read_value(self._reader, self._parser.arguments))
        early: list[str] = []
        if not (yield from read_value(self._reader, early.append)):
            return False
        self._early = "".join(early)
        return True

    def _begin(self, arguments: str) -> None:
        assert self._name is not None
        self._started = True
        self._parser.start(self._name)
        if arguments:
            self._parser.arguments(arguments)

    def _begin_without_arguments(self) -> bool:
        """A call of a function that takes none may leave them out."""
        if self._name is None or self._early is not None or self._offered_only:
            return False
        self._begin("{}")
        return True


def _ignore(text: str) -> None:
    """The value of a key that says nothing about the call."""
