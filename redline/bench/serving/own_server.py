"""OwnServer: redline serve in a process of its own, for as long as it is measured."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from typing import Self

from redline.errors import ConfigError

SAYS = "Redline listens on "  # the beginning of its first line
STOP_S = 20.0


class OwnServer:
    """Started by entering, on a free port; ended by leaving. `url` and `pid` are there meanwhile."""

    def __init__(self, flags: Sequence[str]) -> None:
        self.command = ("redline", "serve", "--port", "0", *flags)
        self.url = ""
        self.pid = 0

    def __enter__(self) -> Self:
        """Returns once it serves. Raises ConfigError with its last words when it does not."""
        self._said = tempfile.TemporaryFile()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "redline.cli.main", *self.command[1:]],
            stdout=subprocess.PIPE,
            stderr=self._said,
            text=True,
            start_new_session=True,  # Ctrl-C is for the benchmark, which ends its server itself
        )
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line.startswith(SAYS):
            self._end()
            self._said.seek(0)
            last = self._said.read().decode(errors="replace").strip().rpartition("\n")[2]
            self._said.close()
            raise ConfigError(f"the server did not start: {last.removeprefix('redline: error: ')}")
        self.url = line.removeprefix(SAYS).split()[0]
        self.pid = self._process.pid
        return self

    def __exit__(self, *_: object) -> None:
        self._end()
        self._said.close()

    def _end(self) -> None:
        self._process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(STOP_S)
        self._process.kill()
        self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()
