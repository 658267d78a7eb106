"""The flags that give an answer its form, named as in llama.cpp."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from redline.config.structured import StructuredOutputsParams
from redline.errors import ConfigError

TEXTS = {
    "json_schema": ("json", "JSON", "the answer is JSON that this schema describes; {} for any"),
    "grammar": ("grammar", "GRAMMAR", "the answer follows this grammar, in GBNF or Lark"),
    "regex": ("regex", "REGEX", "all of the answer matches this regular expression"),
}
FILES = {
    "json_schema_file": ("json", "like --json-schema, from a file"),
    "grammar_file": ("grammar", "like --grammar, from a file"),
}


def add_structured_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags, of which one may be given."""
    group = parser.add_argument_group("form of the answer").add_mutually_exclusive_group()
    for name, (_, metavar, text) in TEXTS.items():
        group.add_argument("--" + name.replace("_", "-"), metavar=metavar, help=text)
    for name, (_, text) in FILES.items():
        group.add_argument("--" + name.replace("_", "-"), metavar="FILE", help=text)


def structured_outputs(args: argparse.Namespace) -> StructuredOutputsParams | None:
    """What the command line asks for. Raises ConfigError, and RequestError for what is wrong in itself."""
    for name, (form, _, _) in TEXTS.items():
        if (text := getattr(args, name)) is not None:
            return _params(form, text)
    for name, (form, _) in FILES.items():
        if (path := getattr(args, name)) is not None:
            return _params(form, _read(name, path))
    return None


def _params(form: str, text: str) -> StructuredOutputsParams:
    values: dict[str, Any] = {form: text}
    return StructuredOutputsParams(**values)


def _read(name: str, path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        flag = "--" + name.replace("_", "-")
        raise ConfigError(f"{flag} {path} cannot be read: {error}; name a text file") from None
