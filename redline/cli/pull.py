"""redline pull: download a model into the cache and print where it lies."""

from __future__ import annotations

import argparse
import sys

from redline.cli.engine_flags import DEFAULT_MODEL
from redline.cli.loading import fetch


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "model", nargs="?", default=DEFAULT_MODEL, help=f"alias or hub repository (default: {DEFAULT_MODEL})"
    )


def run(args: argparse.Namespace) -> int:
    sys.stdout.write(f"{fetch(args.model)}\n")
    return 0
