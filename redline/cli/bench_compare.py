"""redline bench compare: two reports side by side, and whether they differ by more than chance."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path
from typing import Any

from redline.cli.bench_against import write_json
from redline.errors import ConfigError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("before", type=Path, metavar="A.json", help="a report, of --json FILE")
    parser.add_argument("after", type=Path, metavar="B.json", help="another of the same kind")
    parser.add_argument(
        "--json", nargs="?", const="-", metavar="FILE", help="write one JSON object to FILE, or print it"
    )


def run(args: argparse.Namespace) -> int:
    """Compare each subject of A with the one of B that has its name, or the only ones with each other."""
    from redline.bench.results.compare import compare, only_in_one, unlike
    from redline.bench.results.reading import read_report
    from redline.bench.results.terminal import as_comparison

    a, b = read_report(args.before), read_report(args.after)
    if a["kind"] != b["kind"]:
        raise ConfigError(
            f"{args.before} is of bench {a['kind']} and {args.after} of bench {b['kind']}; "
            "only reports of one kind can be compared"
        )
    pairs, left_out = _pairs(a, b)
    differ = [*unlike(a, b), *left_out]
    text, found, alone = [], {}, {}
    for name, first, second in pairs:
        names = (args.before.stem, args.after.stem) if not name else (f"A {name}", f"B {name}")
        differences = compare(first["metrics"], second["metrics"])
        found[name] = [asdict(each) for each in differences]
        alone[name] = only_in_one(first["metrics"], second["metrics"])
        text.append(as_comparison(names, differences, [*differ, *alone[name]]))
    report = {"unlike": differ, "only_in_one": alone, "differences": found}
    write_json(report, args.json, "\n".join(text))
    return 0


Pair = tuple[str, dict[str, Any], dict[str, Any]]


def _pairs(a: dict[str, Any], b: dict[str, Any]) -> tuple[list[Pair], list[str]]:
    """What is compared with what, with an empty name where there is one of each; and who has no partner.

    Raises ConfigError when there is no number that both have.
    """
    if len(a["subjects"]) == len(b["subjects"]) == 1:
        pairs: list[Pair] = [("", a["subjects"][0], b["subjects"][0])]
        left_out = []
    else:
        mine, others = ({subject["name"]: subject for subject in each["subjects"]} for each in (a, b))
        pairs = [(name, mine[name], others[name]) for name in mine if name in others]
        left_out = [f"only in A: {name}" for name in mine if name not in others]
        left_out += [f"only in B: {name}" for name in others if name not in mine]
    shared = [pair for pair in pairs if pair[1]["metrics"].keys() & pair[2]["metrics"].keys()]
    if not shared:
        raise ConfigError("the reports have no number in common: nothing can be compared")
    return shared, left_out
