"""The flags that say how tokens are chosen. Each is a field of SamplingParams."""

from __future__ import annotations

import argparse
from typing import Any

from redline.config.sampling import SamplingParams

NUMBERS: dict[str, tuple[type, str]] = {
    "max_tokens": (int, "tokens of the answer at most"),
    "min_tokens": (int, "tokens before the answer may end"),
    "temperature": (float, "0 takes the most likely token; higher is more random"),
    "top_k": (int, "sample among the K most likely tokens; 0: all"),
    "top_p": (float, "sample among the likely tokens that make up this probability; 1: all"),
    "min_p": (float, "leave out tokens less likely than this share of the most likely one"),
    "repetition_penalty": (float, "divide the logits of tokens that occurred; 1: off"),
    "presence_penalty": (float, "subtract this once from tokens that were generated; 0: off"),
    "frequency_penalty": (float, "subtract this for each time a token was generated; 0: off"),
    "seed": (int, "same seed, same answer (default: a new one each time)"),
}


def add_sampling_flags(parser: argparse.ArgumentParser, **defaults: Any) -> None:
    """Add the flags; `defaults` are those of the verb, the rest are SamplingParams' own."""
    group = parser.add_argument_group("sampling")
    base = SamplingParams()
    for name, (kind, text) in NUMBERS.items():
        default = defaults.get(name, getattr(base, name))
        shown = "" if default is None else f" (default: {default})"
        flag = "--" + name.replace("_", "-")
        group.add_argument(
            flag, type=kind, default=default, metavar=kind.__name__.upper(), help=f"{text}{shown}"
        )
    group.add_argument(
        "--stop", action="append", default=[], metavar="TEXT", help="end before this text; may be repeated"
    )
    group.add_argument("--ignore-eos", action="store_true", help="do not stop at the end-of-sequence token")


def sampling_params(args: argparse.Namespace, **more: Any) -> SamplingParams:
    """SamplingParams from the command line. Raises RequestError when a value is out of range."""
    values = {name: getattr(args, name) for name in NUMBERS}
    return SamplingParams(**values, stop=args.stop, ignore_eos=args.ignore_eos, **more)
