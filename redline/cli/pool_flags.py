"""The flags of `serve` for several models."""

from __future__ import annotations

import argparse

from redline.cli.server_flags import seconds_or_none

RESIDENCY_S = 5.0


def add_pool_flags(parser: argparse.ArgumentParser) -> None:
    """Add the models themselves, and how many of them are in memory."""
    parser.add_argument(
        "models",
        nargs="*",
        metavar="[NAME=]MODEL",
        help="serve these, each by its name: loaded when asked for, unloaded when another needs the memory",
    )
    group = parser.add_argument_group("several models")
    group.add_argument(
        "--models-file",
        metavar="FILE",
        help="TOML or JSON: a table [models.NAME] for each, with model and its own options",
    )
    group.add_argument(
        "--models-memory",
        metavar="SIZE",
        help="that loaded models may take together (default: 80 %% of what is free at the start)",
    )
    group.add_argument(
        "--max-models", type=int, metavar="N", help="in memory at once (default: as many as fit)"
    )
    group.add_argument(
        "--preload", type=int, default=1, metavar="N", help="models to load at the start (default: 1)"
    )
    group.add_argument(
        "--residency",
        type=float,
        metavar="S",
        help="seconds that a model in use stays while others wait for its place "
        f"(default: {RESIDENCY_S:g}; one that nobody uses leaves sooner)",
    )
    group.add_argument(
        "--unload-idle",
        type=seconds_or_none,
        metavar="S",
        help="seconds after which a model that nobody uses is unloaded (default: none)",
    )
