"""Reads a batch file line by line, however long it is, and says of each line what is wrong with it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

from redline.errors import RequestError
from redline.protocol.batch import BatchError, BatchLine
from redline.protocol.wire import parse_json

MAX_LINE = 8 * 2**20  # bytes; the server accepts bodies of half of that
BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class Line:
    """A line that has something in it, by its number from 1 on. None: it is longer than MAX_LINE."""

    number: int
    data: bytes | None


@dataclass(frozen=True, slots=True)
class BadLine:
    """A line that cannot be asked."""

    custom_id: str | None
    error: BatchError


def read_lines(file: BinaryIO) -> Iterator[Line]:
    """The lines that are not blank. No more than one is in memory."""
    number = 0
    while data := file.readline(MAX_LINE + 1):
        number += 1
        if number == 1:
            data = data.removeprefix(BOM)
        if len(data) > MAX_LINE and not data.endswith(b"\n"):
            _skip_rest(file)
            yield Line(number, None)
        elif data.strip():
            yield Line(number, data)


def parse_line(line: Line) -> BatchLine | BadLine:
    """What a line asks for."""
    if line.data is None:
        return _bad(line, None, "line_too_long", RequestError(f"the line has more than {MAX_LINE} bytes"))
    try:
        data = parse_json(line.data)
    except RequestError as error:
        message = str(error).replace("the body is", "the line is", 1)
        return _bad(line, None, "invalid_json", RequestError(message))
    try:
        return BatchLine.parse(data)
    except RequestError as error:
        message = str(error).replace("the body is", "the line is", 1)
        return _bad(line, data, "invalid_request", RequestError(message, param=error.param))


def duplicate(line: Line, custom_id: str) -> BadLine:
    """The error of a line whose custom_id an earlier one has."""
    message = f"custom_id is {custom_id[:100]!r}, and an earlier line has it; give each line one of its own"
    return _bad(
        line, {"custom_id": custom_id}, "duplicate_custom_id", RequestError(message, param="custom_id")
    )


def _bad(line: Line, data: Any, code: str, error: RequestError) -> BadLine:
    custom_id = data.get("custom_id") if isinstance(data, dict) else None
    told = BatchError(code=code, message=str(error), param=error.param, line=line.number)
    return BadLine(custom_id if isinstance(custom_id, str) else None, told)


def _skip_rest(file: BinaryIO) -> None:
    while (data := file.readline(MAX_LINE)) and not data.endswith(b"\n"):
        pass
