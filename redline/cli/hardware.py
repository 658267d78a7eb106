"""redline hardware: what this machine can do at most, and where that leaves a model."""

from __future__ import annotations

import argparse
import os
import sys
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from redline import env
from redline.cli.bench_against import status_line, write_json
from redline.errors import ConfigError

if TYPE_CHECKING:
    from redline.bench.environment import Environment
    from redline.bench.hardware.hardware import Hardware

BUSY = 1.0  # a load average at which a measurement is not of this machine alone


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--threads", type=int, metavar="N", help="default: REDLINE_THREADS, else all cores")
    parser.add_argument(
        "--again", action="store_true", help="measure even if this machine was measured before"
    )
    parser.add_argument("--svg", type=Path, metavar="FILE", help="also write the roofline as a picture")
    parser.add_argument(
        "--json", nargs="?", const="-", metavar="FILE", help="write one JSON object to FILE, or print it"
    )


def run(args: argparse.Namespace) -> int:
    threads = args.threads if args.threads is not None else env.num_threads()
    if threads is not None and threads < 1:
        raise ConfigError(f"--threads is {threads}; it must be at least 1")
    if args.svg is not None and not args.svg.parent.is_dir():
        raise ConfigError(f"{args.svg} cannot be written: there is no directory {args.svg.parent}")
    from redline.bench.environment import environment
    from redline.bench.hardware.svg_picture import svg_picture

    where = environment()
    hardware, measured = _hardware(threads or where.num_cores, again=args.again)
    if args.svg is not None:
        args.svg.write_text(svg_picture(hardware, where.cpu))
    report = {
        "command": ["redline", *args.argv],
        "measured": measured,
        "hardware": asdict(hardware),
        "environment": asdict(where),
    }
    write_json(report, args.json, text(hardware, where, measured))
    return 0


def _hardware(threads: int, *, again: bool) -> tuple[Hardware, str]:
    """As it was measured before, else measured now and kept; and when that was."""
    from redline.bench.hardware.hardware import Hardware
    from redline.bench.hardware.saved import load, save

    path = env.cache_dir() / f"hardware-{threads}.json"
    known = None if again else load(path, threads)
    if known is not None:
        return known, datetime.fromtimestamp(path.stat().st_mtime).astimezone().isoformat(" ", "minutes")
    average = os.getloadavg()[0]
    if average > BUSY:
        sys.stderr.write(
            f"The load average is {average:.1f}: others compute too, and what is measured now is kept.\n"
        )
    with status_line() as tell:
        measured = Hardware.measure(threads, tell)
    save(path, measured)
    return measured, datetime.now().astimezone().isoformat(" ", "minutes")


def text(hardware: Hardware, where: Environment, measured: str) -> str:
    """The picture, and every number."""
    from redline.bench.hardware.text_picture import text_picture

    lines = [f"{where.cpu}, {where.num_cores} cores, {where.memory_bytes / 2**30:.0f} GiB", ""]
    lines += [
        *text_picture(hardware),
        "",
        *_readings(hardware),
        "",
        *_macs(hardware),
        "",
        *_times(hardware),
        "",
        f"Measured {measured}; --again measures anew, best on an idle machine.",
        "",
    ]
    return "\n".join(lines)


def _readings(hardware: Hardware) -> list[str]:
    counts = sorted({each.threads for each in hardware.readings})
    header = "".join(f"{count} thread{'s' if count > 1 else ''}".rjust(14) for count in counts)
    lines = [f"{'GB/s of reading again':<24}{header}"]
    cells: dict[int, dict[int, float]] = {}
    for each in hardware.readings:
        cells.setdefault(each.num_bytes, {})[each.threads] = each.bytes_s
    for size, rates in sorted(cells.items()):
        row = "".join((f"{rates[count] / 1e9:.1f}" if count in rates else "").rjust(14) for count in counts)
        lines.append(f"  {_size(size):<22}{row}")
    levels = ", ".join(
        f"level {each.level}: {_size(each.num_bytes)}{_shared(each)}" for each in hardware.caches
    )
    return [*lines, f"Caches: {levels}" if levels else "Caches: the system does not tell"]


def _shared(cache: Any) -> str:
    return f" for {cache.shared_by} threads" if cache.shared_by > 1 else ""


def _macs(hardware: Hardware) -> list[str]:
    kinds = list(dict.fromkeys(kind for rates in hardware.macs.values() for kind in rates))
    lines = [f"{'GMAC/s from registers':<24}" + "".join(kind.rjust(14) for kind in kinds)]
    for isa, rates in hardware.macs.items():
        row = "".join((f"{rates[kind] / 1e9:,.0f}" if kind in rates else "").rjust(14) for kind in kinds)
        lines.append(f"  {isa:<22}{row}")
    return lines


def _times(hardware: Hardware) -> list[str]:
    disk = hardware.disk_read_bytes_s
    rows = (
        ("read from the disk", "unknown" if disk is None else f"{disk / 1e9:.2f} GB/s"),
        ("another thread takes up work", f"{hardware.hand_over_s * 1e6:.2f} us"),
        ("another process wakes up", f"{hardware.process_wake_up_s * 1e6:.1f} us"),
    )
    return [f"{name:<32}{value:>14}" for name, value in rows]


def _size(num_bytes: int) -> str:
    for unit, size in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if num_bytes >= size:
            return f"{num_bytes / size:g} {unit}"
    return f"{num_bytes} bytes"
