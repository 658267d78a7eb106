"""What the scripts here print and write: a table for each piece of work, the environment, the command."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path

from redline.bench.environment import environment

Row = dict[str, object]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", type=Path)
    parser.add_argument("--markdown", type=Path)


def report(args: argparse.Namespace, title: str, results: dict[str, list[Row]]) -> None:
    """Print the rows under their headings, and write them where the arguments say."""
    where = {**asdict(environment()), "command": " ".join(["python", *sys.argv])}
    lines = [f"# {title}", "", *(f"- {key}: {value}" for key, value in where.items())]
    for heading, rows in results.items():
        lines += ["", f"## {heading}", "", *_table(rows)]
    text = "\n".join(lines) + "\n"
    sys.stdout.write(text)
    if args.markdown:
        args.markdown.write_text(text)
    if args.json:
        args.json.write_text(json.dumps({"environment": where, "results": results}, indent=2) + "\n")


def _table(rows: list[Row]) -> list[str]:
    lines = [f"| {' | '.join(rows[0])} |", "|" + "---|" * len(rows[0])]
    for row in rows:
        cells = [f"{value:.3g}" if isinstance(value, float) else str(value) for value in row.values()]
        lines.append(f"| {' | '.join(cells)} |")
    return lines
