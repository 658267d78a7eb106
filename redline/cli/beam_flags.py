"""The flags of beam search. Each is a field of SamplingParams."""

from __future__ import annotations

import argparse
from typing import Any

FIELDS = ("use_beam_search", "best_of", "length_penalty", "early_stopping", "num_beam_groups",
          "diversity_penalty")  # fmt: skip
_RULES: dict[str, Any] = {"true": True, "false": False, "never": "never"}


def add_beam_flags(parser: argparse.ArgumentParser) -> None:
    """Add them, with the defaults of SamplingParams."""
    group = parser.add_argument_group("beam search")
    group.add_argument(
        "--use-beam-search",
        action="store_true",
        help="search for the most likely answers instead of sampling",
    )
    group.add_argument("--best-of", type=int, metavar="INT", help="beams (default: as many as --n)")
    group.add_argument(
        "--length-penalty",
        type=float,
        default=1.0,
        metavar="FLOAT",
        help="higher: longer answers (default: 1.0)",
    )
    group.add_argument(
        "--early-stopping",
        choices=_RULES,
        default="false",
        help="true: stop once there are as many answers as beams; never: only when none can get better",
    )
    group.add_argument(
        "--num-beam-groups", type=int, default=1, metavar="INT", help="groups that differ (default: 1)"
    )
    group.add_argument(
        "--diversity-penalty",
        type=float,
        default=0.0,
        metavar="FLOAT",
        help="how much they are to (default: 0)",
    )


def beam_options(args: argparse.Namespace) -> dict[str, Any]:
    """Keyword arguments for SamplingParams."""
    return {name: getattr(args, name) for name in FIELDS} | {"early_stopping": _RULES[args.early_stopping]}
