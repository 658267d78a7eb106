"""redline generate: complete one prompt, or answer it with an instruct model."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from redline.cli.beam_flags import add_beam_flags, beam_options
from redline.cli.engine_flags import add_engine_flags
from redline.cli.loading import open_llm
from redline.cli.prompt import read_prompt
from redline.cli.sampling_flags import add_sampling_flags, sampling_params
from redline.cli.structured_flags import add_structured_flags, structured_outputs
from redline.cli.terminal import printable

if TYPE_CHECKING:
    from redline.config.sampling import SamplingParams
    from redline.engine.outputs import Delta, RequestMetrics, RequestOutput
    from redline.llm import LLM

MAX_TOKENS = 256


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("prompt", nargs="?", help="the prompt; absent or -: read standard input")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--chat", action="store_true", help="apply the chat template; an error without one")
    form.add_argument("--raw", action="store_true", help="plain completion, even if the model has a template")
    parser.add_argument("--system", metavar="TEXT", help="system prompt for the chat template")
    parser.add_argument("--n", type=int, default=1, metavar="N", help="number of answers (default: 1)")
    parser.add_argument("--logprobs", type=int, metavar="K", help="with --json: the K likeliest tokens")
    parser.add_argument(
        "--stream",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="show the answer while it is made (default: on; not with --json or --n)",
    )
    parser.add_argument("--stats", action="store_true", help="print a line of timings to stderr")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of the text")
    add_sampling_flags(parser, max_tokens=MAX_TOKENS, temperature=0.0)
    add_beam_flags(parser)
    add_structured_flags(parser)
    add_engine_flags(parser)


def run(args: argparse.Namespace) -> int:
    text = read_prompt(args.prompt)
    options = beam_options(args) | {"structured_outputs": structured_outputs(args)}
    params = sampling_params(args, n=args.n, logprobs=args.logprobs, **options)
    start_s = time.perf_counter()
    llm = open_llm(args, max_batch=max(1, min(params.beam_width, 64)))
    load_s = time.perf_counter() - start_s
    prompt = _prompt(args, llm, text)
    if args.json:
        output = _complete(llm, prompt, params)
        sys.stdout.write(json.dumps(_as_json(args.model, output), ensure_ascii=False) + "\n")
        metrics = output.metrics
    elif args.stream and params.n == 1:
        metrics = write_stream(llm.stream(prompt, params))
    else:
        output = _complete(llm, prompt, params)
        sys.stdout.write("\n---\n".join(printable(choice.text) for choice in output.choices) + "\n")
        metrics = output.metrics
    if args.stats:
        sys.stderr.write(stats_line(metrics, load_s) + "\n")
    return 0


def write_stream(deltas: Iterator[Delta]) -> RequestMetrics:
    """Write the text as it comes, with a line break behind it, and return the metrics of the last delta."""
    for delta in deltas:
        sys.stdout.write(printable(delta.text))
        sys.stdout.flush()
        metrics = delta.metrics
    sys.stdout.write("\n")
    assert metrics is not None, "the last delta carries the metrics"
    return metrics


def stats_line(metrics: RequestMetrics, load_s: float | None = None) -> str:
    """One line of what a user asks first: how long until it began, how fast it went on."""
    parts = [
        f"{metrics.num_prompt_tokens} prompt tokens ({metrics.num_cached_tokens} cached)",
        f"{metrics.num_output_tokens} output tokens",
        f"TTFT {metrics.ttft_s * 1e3:.0f} ms",
    ]
    if metrics.tpot_s > 0:
        parts.append(f"TPOT {metrics.tpot_s * 1e3:.1f} ms")
        parts.append(f"{1 / metrics.tpot_s:.1f} tok/s")
    if metrics.num_draft_tokens:
        parts.append(f"{metrics.num_accepted_tokens} of {metrics.num_draft_tokens} guessed tokens right")
    if load_s is not None:
        parts.append(f"load {load_s * 1e3:.0f} ms")
    return " | ".join(parts)


def _prompt(args: argparse.Namespace, llm: LLM, text: str) -> str | list[dict[str, Any]]:
    """Text for a completion, or messages: instruct models expect their template."""
    if args.raw or (llm.chat_template is None and not args.chat and args.system is None):
        return text
    system = [] if args.system is None else [{"role": "system", "content": args.system}]
    return [*system, {"role": "user", "content": text}]


def _complete(llm: LLM, prompt: str | list[dict[str, Any]], params: SamplingParams) -> RequestOutput:
    [output] = llm.generate(prompt, params) if isinstance(prompt, str) else llm.chat(prompt, params)
    return output


def _as_json(model: str, output: RequestOutput) -> dict[str, Any]:
    return {
        "model": model,
        "prompt_token_ids": output.prompt_token_ids,
        "choices": [asdict(choice) for choice in output.choices],
        "metrics": asdict(output.metrics),
    }
