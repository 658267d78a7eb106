"""redline techniques: the table of optimisations."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from difflib import get_close_matches
from typing import Any

from redline.cli.terminal import columns, folded
from redline.errors import ConfigError
from redline.technique import Technique
from redline.techniques import TECHNIQUES

WIDTH_WITH_FILES = 96  # columns; a narrower terminal leaves the files out rather than break every line

CARD_WIDTH, KEY_WIDTH = 96, 12


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", nargs="?", help="show everything about one technique")
    parser.add_argument("--json", action="store_true", help="print a JSON list with every column")


def run(args: argparse.Namespace) -> int:
    chosen = TECHNIQUES if args.name is None else (_find(args.name),)
    if args.json:
        sys.stdout.write(json.dumps([_columns_of(each) for each in chosen], indent=2) + "\n")
    elif args.name is not None:
        sys.stdout.write(_card(chosen[0]))
    elif sys.stdout.isatty():
        _print_table(chosen)
    else:
        sys.stdout.write(_columns(chosen))
    return 0


def _find(name: str) -> Technique:
    names = [technique.name for technique in TECHNIQUES]
    if name not in names:
        close = get_close_matches(name, names, n=1)
        hint = f"did you mean {close[0]!r}?" if close else "redline techniques lists them"
        raise ConfigError(f"there is no technique {name!r}; {hint}")
    return TECHNIQUES[names.index(name)]


def _columns_of(technique: Technique) -> dict[str, Any]:
    limit, payoff = technique.limit, technique.payoff
    return {
        **asdict(technique),
        "limit": "" if limit is None else str(limit),
        "payoff": "" if payoff is None else f"{payoff.text} ({payoff.report})",
    }


def _card(technique: Technique) -> str:
    width = min(CARD_WIDTH, columns(CARD_WIDTH))
    lines = [technique.name, *folded(technique.summary, width), ""]
    for key, value in _columns_of(technique).items():
        text = ", ".join(value) if isinstance(value, tuple) else value
        if key not in ("name", "summary") and text:
            key_of = [f"{key:<{KEY_WIDTH}}", *[" " * KEY_WIDTH] * len(text)]
            wrapped = folded(text, width - KEY_WIDTH)
            lines.extend(start + each for start, each in zip(key_of, wrapped, strict=False))
    return "\n".join(lines) + "\n"


def _columns(techniques: tuple[Technique, ...]) -> str:
    """Aligned columns without lines or colour, for a pipe."""
    rows = [("TECHNIQUE", "PROMISE", "SWITCH", "FILE")]
    rows += [(each.name, each.promise, each.switch, each.file) for each in techniques]
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    return "".join(
        "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=False)) + f"  {row[3]}\n"
        for row in rows
    )


def _print_table(techniques: tuple[Technique, ...]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("technique", no_wrap=True, style="bold")
    table.add_column("promise", no_wrap=True)
    table.add_column("switch", overflow="fold")
    console = Console()
    wide = console.width >= WIDTH_WITH_FILES
    if wide:
        table.add_column("file", no_wrap=True, style="dim")
    colours = {"exact": "green", "tolerance": "yellow", "bound": "magenta"}
    for each in techniques:
        colour = colours[each.promise]
        row = (each.name, f"[{colour}]{each.promise}[/{colour}]", each.switch)
        table.add_row(*row, *([each.file] if wide else []))
    console.print(table)
    console.print("exact: the same tokens. tolerance: float rounding. bound: a stated limit.")
    console.print("redline techniques NAME shows one in full, with its file and paper.")
