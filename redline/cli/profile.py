"""redline profile: where the time of a forward pass goes, part by part, beside the roofline."""

from __future__ import annotations

import argparse
import os
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from redline.cli import exit_codes
from redline.cli.bench_against import status_line, write_json
from redline.cli.engine_flags import add_engine_flags, engine_options
from redline.cli.loading import fetch
from redline.cli.terminal import columns, folded
from redline.config.engine import EngineConfig
from redline.errors import ConfigError

if TYPE_CHECKING:
    from redline.bench.profile.phase import Phase
    from redline.bench.profile.profile import Part, Profile

MOST_TOKENS, MOST_BATCH, MOST_REPEATS = 65_536, 1024, 1000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_engine_flags(parser)
    parser.add_argument(
        "--prompt-tokens", type=int, default=512, metavar="N", help="of a prefill (default: 512)"
    )
    parser.add_argument("--batches", default="1,8,32", metavar="N,...", help="of decodes (default: 1,8,32)")
    parser.add_argument("--context", type=int, default=256, metavar="N", help="of decodes (default: 256)")
    parser.add_argument("--repeats", type=int, default=15, metavar="N", help="passes of each (default: 15)")
    parser.add_argument("--flame", type=Path, metavar="FILE", help="also write a flame view as SVG")
    parser.add_argument(
        "--json", nargs="?", const="-", metavar="FILE", help="write one JSON object to FILE, or print it"
    )


def run(args: argparse.Namespace) -> int:
    phases = _phases(args)
    options = engine_options(args)
    config = EngineConfig.from_dict({"model": args.model, **options})
    if args.flame is not None and not args.flame.parent.is_dir():
        raise ConfigError(f"{args.flame} cannot be written: there is no directory {args.flame.parent}")
    path = fetch(args.model)
    from redline.bench.environment import environment
    from redline.bench.profile.flame import flame_svg
    from redline.bench.profile.profile import profile_model

    load_before = os.getloadavg()[0]
    with status_line() as tell:
        found = profile_model(config, path, phases, args.repeats, tell)
    report = {
        "command": ["redline", *args.argv],
        "model": args.model,
        "interrupted": found.interrupted,
        "load_before": load_before,
        "ceiling": found.ceiling.as_dict(),
        "phases": [_as_dict(each) for each in found.profiles],
        "environment": asdict(environment()),
    }
    if args.flame is not None:
        args.flame.write_text(flame_svg(found.profiles, f"{args.model}, {found.ceiling.threads} threads"))
    write_json(report, args.json, text(report, found.profiles, columns(WIDTH)))
    return exit_codes.INTERRUPTED if found.interrupted else 0


def _phases(args: argparse.Namespace) -> list[Phase]:
    """One prefill, and a decode for each batch. Raises ConfigError."""
    from redline.bench.profile.phase import Phase

    prompt, context = (
        _count(name, getattr(args, name), MOST_TOKENS) for name in ("prompt_tokens", "context")
    )
    _count("repeats", args.repeats, MOST_REPEATS)
    batches = []
    for part in args.batches.split(","):
        if not part.strip().isdecimal():
            raise ConfigError(f"--batches has {part[:40]!r}; each must be an integer of at least 1")
        batches.append(_count("batches", int(part), MOST_BATCH))
    decodes = [
        Phase(
            name=f"decode, batch {batch}, {context} tokens of context", batch=batch, tokens=1, context=context
        )
        for batch in dict.fromkeys(batches)
    ]
    return [Phase(name=f"prefill of {prompt} tokens", batch=1, tokens=prompt, context=prompt), *decodes]


def _count(name: str, value: int, most: int) -> int:
    if not 1 <= value <= most:
        raise ConfigError(f"--{name.replace('_', '-')} is {value}; it must be between 1 and {most}")
    return value


def _as_dict(profile: Profile) -> dict[str, Any]:
    return {**asdict(profile), "between_s": profile.between_s}


def text(report: dict[str, Any], profiles: list[Profile], width: int) -> str:
    """A table for each phase, the part first that loses most, and what to look at next."""
    width = min(width, WIDTH)
    from redline.bench.report import ceiling_text

    lines = ["Interrupted: phases are missing.", ""] if report["interrupted"] else []
    for each in profiles:
        lines += [*_table(each, width), "", *folded(_next(each), width), ""]
    where = report["environment"]
    lines += folded(f"Ceiling: {ceiling_text(report['ceiling'])}", width)
    load = "Others computed too: ceilings are too low, times too long." if report["load_before"] > 1 else ""
    lines += folded(f"Load average before: {report['load_before']:.2f}. {load}", width)
    lines.append(f"Machine: {where['cpu']}, {where['num_cores']} cores. Commit {where['commit'] or 'none'}.")
    lines.append(f"Command: {' '.join(report['command'])}")
    return "\n".join(lines) + "\n"


HEADER = ("part", "calls", "time", "share", "GB/s", "GMAC/s", "MAC/byte", "of ceiling", "bound", "lost")


def _table(profile: Profile, width: int) -> list[str]:
    rows = [HEADER, *(_row(part, profile.seconds) for part in profile.parts)]
    rows.append(
        (
            "between the ops",
            "",
            _ms(profile.between_s),
            f"{profile.between_s / profile.seconds:.0%}",
            *[""] * 6,
        )
    )
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEADER))]
    wide = sum(widths) + 2 * (len(HEADER) - 1) <= width
    shown = [column for column in range(len(HEADER)) if wide or column not in LEFT_OUT]
    placed = [
        "  ".join(
            row[column].ljust(widths[column]) if column in LEFT else row[column].rjust(widths[column])
            for column in shown
        ).rstrip()
        for row in rows
    ]
    return [f"{profile.phase.name}: {_ms(profile.seconds)}", "", *placed]


LEFT = {0, 8}
LEFT_OUT = {4, 5, 6}  # where there is no room: what `of ceiling` puts together
WIDTH = 100


def _row(part: Part, whole_s: float) -> tuple[str, ...]:
    return (
        part.name,
        str(part.calls),
        _ms(part.seconds),
        f"{part.seconds / whole_s:.0%}",
        f"{part.bytes / part.seconds / 1e9:.1f}",
        f"{part.macs / part.seconds / 1e9:.0f}" if part.macs else "",
        f"{part.macs / part.bytes:.1f}" if part.macs else "",
        f"{part.least_s / part.seconds:.0%}",
        part.bound,
        _ms(part.lost_s),
    )


def _next(profile: Profile) -> str:
    """What to fix next, and what it would bring at most."""
    first = profile.parts[0]
    left = profile.seconds - first.lost_s
    return (
        f"Next: {first.name}, {_ms(first.lost_s)} above what its {first.bound} bound allows; at its ceiling "
        f"the whole would take {_ms(left)}, {profile.seconds / left:.2f}x."
    )


def _ms(seconds: float) -> str:
    return f"{seconds * 1e3:.2f} ms"
