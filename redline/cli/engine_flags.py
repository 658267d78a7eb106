"""The flags that describe an engine, shared by every verb that runs one. Each is a field of EngineConfig."""

from __future__ import annotations

import argparse
import json
from typing import Any

from redline.config.engine import CHOICES

DEFAULT_MODEL = "smollm2"

# field -> help; the flag is the field's name with dashes. EngineConfig checks the values.
INTEGERS = {
    "max_context": "tokens of prompt and answer together (default: what the model was trained for)",
    "max_batch": "sequences that run at once (default: 64)",
    "max_waiting": "sequences that may wait behind them (default: 1024)",
    "threads": "threads of the kernels (default: REDLINE_THREADS, else all cores)",
    "block_size": "tokens of one K/V block (default: 16)",
}
NAMES = {
    "device": "where to run (default: auto)",
    "backend": "which kernels run: compiled (cpu) or the slow reference (default: auto)",
    "batching": "when sequences join the batch (default: continuous)",
    "order": "who is admitted first (default: fcfs)",
    "kv_format": "number format of the K/V cache (default: auto)",
    "compute": "integer kernels, or float ones on dequantised weights (default: auto)",
}
NUMBERS = {
    "batch_window": "seconds that a closed batch waits to fill (default: 1 static, 0.05 dynamic)",
    "prompt_share": "of the token budget, for one long prompt while others want some (default: 0.25)",
}
ON = {
    "kv_cache": "keep keys and values; off, each token computes all before it again",
    "paged_cache": "hand the K/V cache out in blocks; off, each sequence reserves the whole context",
    "prefix_cache": "reuse the K/V of equal prompt beginnings",
    "flash_attention": "attend in tiles; off, whole matrices of scores are made, with NumPy",
    "fusion": "norms, gates and sums in the passes of the matmuls",
    "graph_replay": "record the ops of a decode step once and replay them",
    "jump_ahead": "let tokens that a grammar forces skip the model",
}
SIZES = {
    "kv_memory": 'memory of the K/V cache: auto, bytes, or a size such as "2GiB" (default: auto)',
    "memory": "the most for weights, K/V cache and all else of the model (default: what is free)",
    "offload_memory": "memory for blocks that leave the K/V cache (default: none)",
    "cache_dir_size": "of all files in --cache-dir (default: 4GiB)",
}
OFF = {"prefill_first": "compute prompts before decodes"}


def add_engine_flags(parser: argparse.ArgumentParser) -> None:
    """Add --model and one flag per field of EngineConfig. Flags not given leave no trace in the result."""
    group = parser.add_argument_group("engine")
    group.add_argument(
        "--model",
        default=DEFAULT_MODEL,
        help=f"alias, GGUF file, safetensors directory or hub repository (default: {DEFAULT_MODEL})",
    )
    for name, text in INTEGERS.items():
        group.add_argument(_flag(name), type=int, metavar="N", default=argparse.SUPPRESS, help=text)
    for name, text in NAMES.items():
        group.add_argument(_flag(name), choices=CHOICES[name], default=argparse.SUPPRESS, help=text)
    group.add_argument(
        "--chunked-prefill",
        type=_integer_or_none,
        metavar="N|none",
        default=argparse.SUPPRESS,
        help="token budget of one step; none: whole prompts at once (default: 512)",
    )
    group.add_argument(
        "--step-time",
        type=_number_or_none,
        metavar="S|none",
        default=argparse.SUPPRESS,
        help="seconds of a step with prompts, while the batch has room (default: 0.015 to serve, else none)",
    )
    for name, text in NUMBERS.items():
        group.add_argument(_flag(name), type=float, metavar="X", default=argparse.SUPPRESS, help=text)
    for switches, default in ((ON, "on"), (OFF, "off")):
        for name, text in switches.items():
            action = argparse.BooleanOptionalAction
            help_text = f"{text} (default: {default})"
            group.add_argument(_flag(name), action=action, default=argparse.SUPPRESS, help=help_text)
    for name, text in SIZES.items():
        group.add_argument(_flag(name), metavar="SIZE", default=argparse.SUPPRESS, help=text)
    group.add_argument(
        "--speculative",
        type=_method_or_options,
        metavar="METHOD|JSON",
        default=argparse.SUPPRESS,
        help="guess tokens ahead: ngram, history, or with options, as "
        '{"method": "draft_model", "model": PATH, "num_speculative_tokens": 5} (default: none)',
    )
    group.add_argument(
        "--cache-dir",
        metavar="DIR",
        default=argparse.SUPPRESS,
        help="keep cached blocks there for the next start (default: they are lost at the end)",
    )


def engine_options(args: argparse.Namespace) -> dict[str, Any]:
    """The options of EngineConfig that the command line set, without the model."""
    names = [
        *INTEGERS,
        *NAMES,
        *NUMBERS,
        *ON,
        *OFF,
        *SIZES,
        "chunked_prefill",
        "step_time",
        "cache_dir",
        "speculative",
    ]
    return {name: getattr(args, name) for name in names if hasattr(args, name)}


def engine_argv(options: dict[str, Any]) -> list[str]:
    """The flags that give these options, for a command of another process."""
    words = []
    for name, value in options.items():
        if isinstance(value, bool):
            words.append(_flag(name) if value else "--no-" + name.replace("_", "-"))
        else:
            text = json.dumps(value) if isinstance(value, dict) else "none" if value is None else str(value)
            words += [_flag(name), text]
    return words


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def _method_or_options(text: str) -> dict[str, Any] | str | None:
    if text == "none":
        return None
    if not text.lstrip().startswith("{"):
        return text
    try:
        options: dict[str, Any] = json.loads(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is no JSON: {error}") from None
    return options


def _number_or_none(text: str) -> float | None:
    if text == "none":
        return None
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is neither a number nor none") from None


def _integer_or_none(text: str) -> int | None:
    if text == "none":
        return None
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is neither an integer nor none") from None
