"""redline bench compare: two reports side by side, and whether they differ by more than chance."""

from __future__ import annotations

import argparse
import json
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
    from redline.bench.results.compare import compare, unlike
    from redline.bench.results.terminal import as_comparison

    a, b = _report(args.before), _report(args.after)
    if a["kind"] != b["kind"]:
        raise ConfigError(
            f"{args.before} is of bench {a['kind']} and {args.after} of bench {b['kind']}; "
            "only reports of one kind can be compared"
        )
    differ = unlike(a, b)
    text, found = [], {}
    for name, first, second in _pairs(a, b):
        names = (args.before.stem, args.after.stem) if not name else (f"A {name}", f"B {name}")
        differences = compare(first["metrics"], second["metrics"])
        found[name] = [asdict(each) for each in differences]
        text.append(as_comparison(names, differences, differ))
    write_json({"unlike": differ, "differences": found}, args.json, "\n".join(text))
    return 0


def _pairs(a: dict[str, Any], b: dict[str, Any]) -> list[tuple[str, dict[str, Any], dict[str, Any]]]:
    """What is compared with what; the name is empty where there is one of each."""
    if len(a["subjects"]) == len(b["subjects"]) == 1:
        return [("", a["subjects"][0], b["subjects"][0])]
    others = {subject["name"]: subject for subject in b["subjects"]}
    pairs = [(each["name"], each, others[each["name"]]) for each in a["subjects"] if each["name"] in others]
    if not pairs:
        raise ConfigError("the reports have no subject in common: nothing can be compared")
    return pairs


def _report(path: Path) -> dict[str, Any]:
    try:
        report: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        metrics = [each for subject in report["subjects"] for each in subject["metrics"].values()]
        whole = all(each["values"] and each["better"] and each["title"] and each["unit"] for each in metrics)
        if whole and metrics and report["kind"] and report["measured"] and report["environment"]["cpu"]:
            return report
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        pass
    raise ConfigError(f"{path} is no report of redline bench with runs that can be compared (--json FILE)")
