"""A report as tables for a terminal."""

from __future__ import annotations

import io
import shutil
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from redline.bench.results.compare import BETTER, WORSE, Difference
from redline.bench.results.document import differences, facts, verdict
from redline.bench.results.metric import quoted, spread_text, value_text

if TYPE_CHECKING:
    from rich.table import Table

PIPE_WIDTH = 100
COLOURS = {BETTER: "green", WORSE: "red"}


def as_text(report: dict[str, Any]) -> str:
    """Tables, then what was noticed, then the circumstances; coloured on a terminal."""
    subjects = report["subjects"]
    parts: list[Any] = [f"[bold]{_plain(report['title'])}[/]"]
    parts += [f"[dim]{_plain(line)}[/]" for line in report["intro"]]
    parts += ["", _metrics(subjects), ""]
    for name, found in differences(report) if len(subjects) > 1 else ():
        parts += [f"[bold]{_plain(name)} beside {_plain(subjects[0]['name'])}[/]", _differences(found), ""]
    for subject in subjects:
        who = f"{subject['name']}: " if len(subjects) > 1 else ""
        parts += [_plain(f"{who}{note}") for note in subject["notes"]]
    *others, command = facts(report)
    parts += [""] if any(subject["notes"] for subject in subjects) else []
    parts += [*(f"[dim]{_plain(fact)}[/]" for fact in others)]
    # A command in one piece can be copied.
    return rendered(parts) + command + "\n"


def as_comparison(names: tuple[str, str], found: Sequence[Difference], unlike: Sequence[str]) -> str:
    """The table of `redline bench compare`."""
    parts: list[Any] = [f"[bold]{_plain(names[1])} beside {_plain(names[0])}[/]", _differences(found, names)]
    if unlike:
        parts.append("[yellow]They did not measure the same, so differences may come from that:[/]")
        parts += [_plain(f"  {line}") for line in unlike]
    parts.append(
        f"[dim]Means of the runs, and a permutation test of them, no correction: of {len(found)} metrics, "
        "one in twenty seems to differ at p=0.05 where nothing does.[/]"
    )
    return rendered(parts)


def rendered(parts: Sequence[Any]) -> str:
    """Rich markup and tables as text for stdout, as wide as it is."""
    from rich.console import Console

    tty = sys.stdout.isatty()
    width = shutil.get_terminal_size().columns if tty else PIPE_WIDTH
    file = io.StringIO()
    console = Console(file=file, width=width, force_terminal=tty, highlight=False, no_color=not tty)
    for part in parts:
        console.print(part)
    return "\n".join(line.rstrip() for line in file.getvalue().splitlines()) + "\n"


def _metrics(subjects: Sequence[dict[str, Any]]) -> Table:
    table = _table()
    table.add_column("", no_wrap=True)
    for subject in subjects:
        table.add_column(_plain(subject["name"]) if len(subjects) > 1 else "mean", justify="right")
        table.add_column("", justify="right", style="dim")
    for name in dict.fromkeys(name for subject in subjects for name in subject["metrics"]):
        found = [subject["metrics"].get(name) for subject in subjects]
        title = next(each["title"] for each in found if each is not None)
        cells = [
            ("", "") if each is None else (value_text(quoted(each), each["unit"]), spread_text(each))
            for each in found
        ]
        table.add_row(title, *(cell for pair in cells for cell in pair))
    return table


def _differences(found: Sequence[Difference], names: tuple[str, str] | None = None) -> Table:
    table = _table()
    table.add_column("", no_wrap=True)
    for name in names or ("first", "this"):
        table.add_column(_plain(name), justify="right")
    table.add_column("")
    for each in found:
        values = (value_text(value, each.unit) for value in (each.mean_a, each.mean_b))
        table.add_row(each.title, *values, verdict(each), style=COLOURS.get(each.verdict))
    return table


def _table() -> Table:
    from rich import box
    from rich.table import Table

    return Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)


def _plain(text: str) -> str:
    """Text of a server or a user as it is: no markup, no control characters."""
    from rich.markup import escape

    return escape("".join(character if character.isprintable() else "?" for character in text))
