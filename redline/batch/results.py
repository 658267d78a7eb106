"""ResultFile: the results that are there, on disk, whatever becomes of the process.

A line is written in one piece at the end of the file and is on the disk before it counts. So a process that
is killed at any moment leaves whole lines and at most one torn one, the last, which the next one cuts off.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from pydantic import ValidationError

from redline.batch.known import KnownKeys
from redline.errors import ConfigError
from redline.protocol.batch import BatchResult

NEW_SUFFIX = ".new"


class ResultFile:
    """The output of a batch, open for more. One process at a time has it.

    `done` are the keys (`key_of`) of the lines that have a result, `num_failed` counts results that are no
    answer. With `retry_errors` those are taken out first, to be asked again. Raises ConfigError when the file
    cannot be used, or is something else.
    """

    def __init__(self, path: Path, *, retry_errors: bool = False) -> None:
        path = path.resolve()
        self.done = KnownKeys()
        self.num_done = self.num_failed = 0
        self._waiting: list[bytes] = []
        self._writing = asyncio.Lock()
        self._file = _opened(path)
        try:
            _lock(self._file, path)
            if retry_errors:
                self._file = _without(self._file, path, lambda result: result.failed)
            for result in _whole_lines(self._file, path):
                self._count(result)
            self._file.truncate()  # a torn last line
        except BaseException:
            self._file.close()
            raise

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()
        self.done.close()

    async def append(self, result: BatchResult) -> None:
        """Add a result; it is on the disk when this returns. Those that come meanwhile are written together.

        Raises OSError.
        """
        self._waiting.append(result.to_json().encode() + b"\n")
        async with self._writing:
            if self._waiting:
                lines, self._waiting = self._waiting, []
                await asyncio.to_thread(_write, self._file, b"".join(lines))
        self._count(result)

    def _count(self, result: BatchResult) -> None:
        self.done.add(key_of(result))
        self.num_done += 1
        self.num_failed += result.failed


def key_of(result: BatchResult) -> str:
    """By what a result is found again: its custom_id, or where the line is wrong its number."""
    return line_key(result.error.line) if result.error is not None else id_key(result.custom_id or "")


def id_key(custom_id: str) -> str:
    """The key of a line that was asked."""
    return f"id:{custom_id}"


def line_key(number: int) -> str:
    """The key of a line that could not be asked."""
    return f"line:{number}"


def _opened(path: Path) -> BinaryIO:
    if path.exists() and not path.is_file():
        raise ConfigError(f"{path} is not a regular file; results need one, to go on after an interruption")
    try:
        return open(path, "a+b")
    except OSError as error:
        raise ConfigError(f"cannot write {path}: {error.strerror}") from None


def _lock(file: BinaryIO, path: Path) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        replaced = not os.path.samestat(os.fstat(file.fileno()), path.stat())
    except OSError:
        replaced = True
    if replaced:
        raise ConfigError(f"{path} is being written by another process; wait for its end")


def _whole_lines(file: BinaryIO, path: Path) -> Iterator[BatchResult]:
    """The results in the file, which then stands behind the last one."""
    file.seek(0)
    number, end = 0, 0
    while (data := file.readline()).endswith(b"\n"):
        number += 1
        try:
            result = BatchResult.from_json(data)
        except ValidationError:
            raise ConfigError(
                f"line {number} of {path} is no result of a batch; name another file, or remove this one"
            ) from None
        yield result
        end += len(data)
    file.seek(end)


def _without(file: BinaryIO, path: Path, unwanted: Callable[[BatchResult], bool]) -> BinaryIO:
    """The file without some of its results. It is replaced in one step; until then it stays as it is."""
    replacement = path.with_name(path.name + NEW_SUFFIX)
    replacement.unlink(missing_ok=True)
    with file, contextlib.ExitStack() as unless_done:
        new = unless_done.enter_context(_opened(replacement))
        _lock(new, replacement)
        for result in _whole_lines(file, path):
            if not unwanted(result):
                new.write(result.to_json().encode() + b"\n")
        new.flush()
        os.fsync(new.fileno())
        replacement.replace(path)
        unless_done.pop_all()
    _sync_folder(path)
    return new


def _sync_folder(path: Path) -> None:
    folder = os.open(path.absolute().parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _write(file: BinaryIO, data: bytes) -> None:
    file.write(data)
    file.flush()
    os.fsync(file.fileno())
