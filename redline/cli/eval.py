"""redline eval: how good a model, or a format of its numbers, is."""

from __future__ import annotations

import argparse
import json
import math
import sys
from pathlib import Path
from typing import Any

from redline.cli.engine_flags import add_engine_flags
from redline.cli.loading import open_llm
from redline.cli.terminal import progress_bar
from redline.errors import RequestError

PERPLEXITY = "the perplexity of a text, in windows of the context"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    kinds = parser.add_subparsers(dest="kind", metavar="KIND", required=True)
    perplexity = kinds.add_parser("perplexity", help=PERPLEXITY, description=f"Measure {PERPLEXITY}.")
    perplexity.add_argument("file", help="a text file in UTF-8; -: read standard input")
    perplexity.add_argument("--json", action="store_true", help="print one JSON object")
    add_engine_flags(perplexity)


def run(args: argparse.Namespace) -> int:
    text = _read(args.file)
    llm = open_llm(args)
    with progress_bar("scoring", "windows") as progress:
        [score] = llm.loglikelihood_rolling(text, progress=progress)
    num_bytes = len(text.encode())
    result: dict[str, Any] = {
        "model": args.model,
        "perplexity": score.perplexity,
        "bits_per_byte": -score.logprob / math.log(2) / num_bytes,
        "logprob": score.logprob,
        "num_tokens": score.num_tokens,
        "num_bytes": num_bytes,
        "max_context": llm.max_context,
    }
    if args.json:
        sys.stdout.write(json.dumps(result) + "\n")
    else:
        sys.stdout.write(
            f"perplexity {result['perplexity']:.4f} | {result['bits_per_byte']:.4f} bits per byte | "
            f"{score.num_tokens} tokens in windows of {llm.max_context}\n"
        )
    return 0


def _read(name: str) -> str:
    """The text of a file or of standard input. Raises RequestError."""
    try:
        data = sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()
        text = data.decode("utf-8")
    except OSError as error:
        raise RequestError(f"cannot read {name}: {error.strerror}", param="file") from None
    except UnicodeDecodeError as error:
        raise RequestError(f"{name} is not valid UTF-8 at byte {error.start}", param="file") from None
    if not text:
        raise RequestError(f"{name} is empty; there is nothing to score", param="file")
    return text
