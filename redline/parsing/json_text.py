"""Where a JSON value ends, found while it arrives. The text itself is handed on as it was written.

Only what decides about the end is looked at: strings with their escapes, and brackets. Whether a literal such
as `tru` is one is for whoever reads the value to say. Nesting is bounded, and the cost is linear.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable

from redline.parsing.reader import Reader, Steps

MAX_DEPTH = 128  # brackets within brackets

_STRING = re.compile(r'[^"\\]+')
_BETWEEN = re.compile(r'[^"{}\[\]]+')
_SCALAR = re.compile(r'[^"{}\[\],:\s]+')
_ANY = re.compile(r".", re.DOTALL)
_CLOSES = {"{": "}", "[": "]"}

Sink = Callable[[str], object]


def read_value(reader: Reader, sink: Sink) -> Steps[bool]:
    """Hand one value to `sink` in pieces. False: it is none, its brackets do not match, or it has no end.

    What does not fit is not read.
    """
    first = yield from reader.peek()
    if first not in ("{", "[", '"'):
        return (yield from _read_pieces(reader, _SCALAR, sink))
    open_brackets: list[str] = []
    while True:
        char = yield from reader.peek()
        if not char:
            return False
        if char == '"':
            if not (yield from _read_string(reader, sink)):
                return False
        elif char in _CLOSES:
            if len(open_brackets) == MAX_DEPTH:
                return False
            open_brackets.append(_CLOSES[char])
            sink(reader.take())
        elif char in _CLOSES.values():
            if open_brackets[-1] != char:
                return False
            open_brackets.pop()
            sink(reader.take())
        else:
            sink((yield from reader.pieces(_BETWEEN)))
        if not open_brackets:
            return True


def read_short_string(reader: Reader, limit: int) -> Steps[str | None]:
    """The value of a string of at most `limit` characters; None: it is none, or is not well-formed."""
    if (yield from reader.peek()) != '"':
        return None
    written = [reader.take()]
    for _ in range(limit + 1):
        written.append((yield from reader.run(_ANY, 1)))
        if written[-1] == "\\":
            written.append((yield from reader.run(_ANY, 1)))
        elif written[-1] == '"':
            return _value("".join(written))
    return None


def _value(written: str) -> str | None:
    try:
        value: str = json.loads(written)
    except ValueError:
        return None
    return value


def _read_string(reader: Reader, sink: Sink) -> Steps[bool]:
    sink(reader.take())
    while True:
        yield from _read_pieces(reader, _STRING, sink)
        char = yield from reader.peek()
        if not char:
            return False
        sink(reader.take())
        if char == '"':
            return True
        sink((yield from reader.run(_ANY, 1)))  # what the backslash escapes


def _read_pieces(reader: Reader, pattern: re.Pattern[str], sink: Sink) -> Steps[bool]:
    """Hand on all that `pattern` matches; False when that is nothing."""
    some = False
    while piece := (yield from reader.pieces(pattern)):
        some = True
        sink(piece)
    return some
