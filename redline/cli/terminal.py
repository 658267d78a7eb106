"""What the verbs show on a terminal: progress on stderr, text that cannot take the terminal over."""

from __future__ import annotations

import contextlib
import shutil
import sys
import textwrap
import time
from collections.abc import Callable, Iterator

Progress = Callable[[int, int], None]
PATIENCE_S = 0.4  # work that ends sooner shows no bar, and does not pay for importing one

# A model, or a file, may hold escape sequences that move the cursor or rename the window.
_CONTROLS = {code: "\N{REPLACEMENT CHARACTER}" for code in (*range(32), *range(127, 160))}
_CONTROLS = {code: mark for code, mark in _CONTROLS.items() if chr(code) not in "\n\t"}


def printable(text: str) -> str:
    """`text` with its control characters replaced when stdout is a terminal; unchanged in a pipe."""
    return text.translate(_CONTROLS) if sys.stdout.isatty() else text


def columns(in_pipe: int) -> int:
    """How wide a line on stdout may be: the terminal's width, or what is good in a pipe."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else in_pipe


def folded(text: str, width: int) -> list[str]:
    """Lines of at most `width`; a word that is longer, such as a path, stays whole."""
    return textwrap.wrap(text, width, break_long_words=False, break_on_hyphens=False)


@contextlib.contextmanager
def progress_bar(title: str, unit: str = "bytes") -> Iterator[Progress]:
    """A callback (done, in all) that draws a bar on a terminal and nothing in a pipe."""
    if not sys.stderr.isatty():
        yield lambda done, total: None
        return
    bar = _Bar(title, unit)
    try:
        yield bar.update
    finally:
        bar.close()


class _Bar:
    """A rich progress bar that appears once the work has taken PATIENCE_S."""

    def __init__(self, title: str, unit: str) -> None:
        self._title = title
        self._unit = unit
        self._start_s = time.monotonic()
        self._draw: Progress | None = None
        self._stop: Callable[[], None] = lambda: None

    def update(self, done: int, total: int) -> None:
        if self._draw is None:
            if time.monotonic() - self._start_s < PATIENCE_S:
                return
            self._draw = self._open()
        self._draw(done, total)

    def close(self) -> None:
        self._stop()

    def _open(self) -> Progress:
        from rich import progress
        from rich.console import Console

        counted: tuple[progress.ProgressColumn, ...] = (
            progress.MofNCompleteColumn(),
            progress.TextColumn(self._unit),
        )
        if self._unit == "bytes":
            counted = (progress.DownloadColumn(), progress.TransferSpeedColumn())
        columns = (
            progress.TextColumn("{task.description}"),
            progress.BarColumn(),
            *counted,
            progress.TimeRemainingColumn(),
        )
        bar = progress.Progress(*columns, console=Console(stderr=True), transient=True)
        task = bar.add_task(self._title, total=None)
        bar.start()
        self._stop = bar.stop
        return lambda done, total: bar.update(task, completed=done, total=total or None)
