"""MappedFile: a file's bytes mapped into memory, read only."""

from __future__ import annotations

import mmap
from pathlib import Path

import numpy as np
import numpy.typing as npt

from redline.errors import ModelFileError, ModelNotFound


class MappedFile:
    """`data` slices to bytes (copies), `view` gives arrays without copying.

    Raises ModelNotFound when there is no such file, ModelFileError when it cannot be mapped.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            if path.exists() and not path.is_file():  # opening a pipe would wait for a writer
                raise ValueError("it is not a regular file")
            with path.open("rb") as file:
                self.data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except FileNotFoundError as error:
            raise ModelNotFound(f"there is no file {path}; check the path") from error
        except (OSError, ValueError) as error:
            raise ModelFileError(f"{path}: cannot be read: {error}") from error
        self.size = len(self.data)
        self._bytes = np.frombuffer(self.data, np.uint8)

    def view(self, start: int, nbytes: int) -> npt.NDArray[np.uint8]:
        """A read-only array over part of the file."""
        assert 0 <= start <= start + nbytes <= self.size, f"{start = } {nbytes = } {self.size = }"
        return self._bytes[start : start + nbytes]

    def drop_pages(self, start: int, nbytes: int) -> None:
        """Let the system take back whole pages of a range; they are read again when touched."""
        page = mmap.PAGESIZE
        first, last = -(-start // page) * page, (start + nbytes) // page * page
        if last > first and hasattr(mmap, "MADV_DONTNEED"):
            self.data.madvise(mmap.MADV_DONTNEED, first, last - first)
