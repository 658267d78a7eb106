"""Azure's inference traces (Azure/AzurePublicDataset, CC-BY-4.0): TIMESTAMP,ContextTokens,GeneratedTokens."""

from __future__ import annotations

import csv
import datetime
import re
from collections.abc import Iterator

from redline.bench.traces.traced import BadLine, Traced, checked

FRACTION = re.compile(r"\.[0-9]+")
COLUMNS = ("TIMESTAMP", "ContextTokens", "GeneratedTokens")


def read(lines: Iterator[str]) -> Iterator[Traced | BadLine]:
    """One request a line, below a header with at least COLUMNS."""
    header = [name.strip().lstrip("\N{ZERO WIDTH NO-BREAK SPACE}") for name in next(lines, "").split(",")]
    if not set(COLUMNS) <= set(header):
        yield BadLine(1, f"the header lacks {', '.join(name for name in COLUMNS if name not in header)}")
        return
    places = [header.index(name) for name in COLUMNS]
    for number, line in enumerate(lines, 2):
        if not line.strip():
            continue
        try:
            (cells,) = csv.reader([line])
            time, given, made = (cells[place].strip() for place in places)
            yield checked(_seconds(time), int(given), int(made))
        except IndexError:
            yield BadLine(number, f"{len(line.split(','))} columns instead of {len(header)}")
        except (ValueError, csv.Error) as error:
            yield BadLine(number, " ".join(str(error).split()))


def _seconds(time: str) -> float:
    """Of "2023-11-16 18:17:03.9799600": seven digits, where Python takes six; or with "+00:00" at its end."""
    found = FRACTION.search(time)
    fraction = found.group() if found else ""
    moment = datetime.datetime.fromisoformat(time.replace(fraction, "", 1))
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=datetime.UTC)
    return moment.timestamp() + float(f"0{fraction}")
