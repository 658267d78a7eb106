"""The flags that say how tokens are chosen. Each is a field of SamplingParams."""

from __future__ import annotations

import argparse
from typing import Any

from redline.config.sampling import TRUNCATIONS, SamplingParams

NUMBERS: dict[str, tuple[type, str]] = {
    "max_tokens": (int, "tokens of the answer at most"),
    "min_tokens": (int, "tokens before the answer may end"),
    "temperature": (float, "0 takes the most likely token; higher is more random"),
    "top_k": (int, "sample among the K most likely tokens; 0: all"),
    "top_p": (float, "sample among the likely tokens that make up this probability; 1: all"),
    "min_p": (float, "leave out tokens less likely than this share of the most likely one"),
    "typical_p": (float, "sample among the tokens about as likely as expected, to this probability; 1: all"),
    "top_n_sigma": (float, "leave out logits this many standard deviations below the best; -1: off"),
    "xtc_probability": (float, "chance of leaving out all likely tokens but the last of them; 0: off"),
    "xtc_threshold": (float, "probability from which on a token is likely, for --xtc-probability"),
    "mirostat": (int, "hold the surprise of the text at a target: version 1 or 2; 0: off"),
    "mirostat_tau": (float, "bits per token that mirostat aims at"),
    "mirostat_eta": (float, "how fast mirostat reacts"),
    "dola_layer": (int, "contrast the model with so many of its first layers (default: off)"),
    "repetition_penalty": (float, "divide the logits of tokens that occurred; 1: off"),
    "presence_penalty": (float, "subtract this once from tokens that were generated; 0: off"),
    "frequency_penalty": (float, "subtract this for each time a token was generated; 0: off"),
    "dry_multiplier": (float, "penalty for going on with a repetition; 0: off"),
    "dry_base": (float, "factor of that penalty for each token that the repetition is longer"),
    "dry_allowed_length": (int, "tokens of a repetition before the penalty"),
    "dry_penalty_last_n": (int, "tokens searched for repetitions; -1: all"),
    "seed": (int, "same seed, same answer (default: a new one each time)"),
}
# Where a flag of llama.cpp is not named as the field is.
FLAGS = {
    "typical_p": "--typical",
    "top_n_sigma": "--top-nsigma",
    "mirostat_tau": "--mirostat-ent",
    "mirostat_eta": "--mirostat-lr",
}
LISTS = {
    "stop": ("--stop", "end before this text"),
    "bad_words": ("--bad-word", "never write this"),
    "dry_sequence_breakers": (
        "--dry-sequence-breaker",
        'text that ends a repetition, in place of newline, colon, quote and asterisk; "none" for none',
    ),
}


def add_sampling_flags(parser: argparse.ArgumentParser, **defaults: Any) -> None:
    """Add the flags; `defaults` are those of the verb, the rest are SamplingParams' own."""
    group = parser.add_argument_group("sampling")
    parser.set_defaults(verb_defaults=defaults)
    base = SamplingParams()
    for name, (kind, text) in NUMBERS.items():
        default = defaults.get(name, getattr(base, name))
        shown = "" if default is None else f" (default: {default})"
        flag = FLAGS.get(name, "--" + name.replace("_", "-"))
        group.add_argument(flag, dest=name, type=kind, metavar=kind.__name__.upper(), help=f"{text}{shown}")
    for name, (flag, text) in LISTS.items():
        group.add_argument(flag, dest=name, action="append", metavar="TEXT", help=f"{text}; may be repeated")
    group.add_argument("--ignore-eos", action="store_true", help="do not stop at the end-of-sequence token")


def sampling_params(args: argparse.Namespace, **more: Any) -> SamplingParams:
    """SamplingParams from the command line. Raises RequestError when a value is out of range."""
    given = {name: value for name in (*NUMBERS, *LISTS) if (value := getattr(args, name)) is not None}
    if given.get("dry_sequence_breakers") == ["none"]:
        given["dry_sequence_breakers"] = []
    # What only the verb asks for gives way to mirostat, which wants nothing beside it.
    defaults = {
        name: value
        for name, value in args.verb_defaults.items()
        if not (given.get("mirostat") and name in TRUNCATIONS)
    }
    return SamplingParams(**{**defaults, **given}, ignore_eos=args.ignore_eos, **more)
