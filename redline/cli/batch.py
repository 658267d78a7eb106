"""redline batch: answer all requests of a file, without a server."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from redline.cli.engine_flags import add_engine_flags
from redline.cli.loading import check_engine_flags, open_async_llm
from redline.cli.terminal import progress_bar
from redline.errors import ConfigError
from redline.parsing.choose import REASONING_CHOICES, TOOL_CHOICES

if TYPE_CHECKING:
    from redline.batch.results import ResultFile
    from redline.batch.run import Summary

EXIT_FAILED = 1  # some lines have no answer
MOST_WAITING = 2**20  # the lines in work are bounded already
CHUNK = 2**20


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "input", type=Path, help="a file of requests, one JSON object a line (OpenAI's batches)"
    )
    parser.add_argument(
        "output", type=Path, help="the file of results; what has one there is not asked again"
    )
    parser.add_argument("--retry-errors", action="store_true", help="ask again what failed before")
    parser.add_argument(
        "--max-concurrency",
        type=int,
        metavar="N",
        help="requests in work at once (default: twice --max-batch)",
    )
    parser.add_argument("--json", action="store_true", help="print the summary as one JSON object")
    for name, choices in (("--tool-call-parser", TOOL_CHOICES), ("--reasoning-parser", REASONING_CHOICES)):
        parser.add_argument(name, choices=choices, default="auto", help="as for serve (default: auto)")
    add_engine_flags(parser)


def run(args: argparse.Namespace) -> int:
    import asyncio

    if args.max_concurrency is not None and args.max_concurrency < 1:
        raise ConfigError(f"max_concurrency is {args.max_concurrency}; it must be at least 1")
    check_engine_flags(args)
    from redline.batch.results import ResultFile

    with _open(args.input, args.output) as source:
        total = _num_lines(source) if sys.stderr.isatty() else 0
        with closing(ResultFile(args.output, retry_errors=args.retry_errors)) as results:
            with progress_bar("answering", "requests") as draw:
                answer = _answer(args, source, results, lambda done: draw(done, total))
                summary = asyncio.run(answer)
            num_failed = results.num_failed
    _print(summary, args, num_failed)
    return EXIT_FAILED if num_failed else 0


async def _answer(
    args: argparse.Namespace, source: BinaryIO, results: ResultFile, progress: Callable[[int], None]
) -> Summary:
    from redline.batch.run import run as run_batch
    from redline.server.app import build_app
    from redline.server.config import ServerConfig

    llm = open_async_llm(args)
    try:
        config = ServerConfig(
            aliases=(args.model,),
            max_waiting=MOST_WAITING,
            step_timeout_s=None,
            tool_call_parser=args.tool_call_parser,
            reasoning_parser=args.reasoning_parser,
        )
        at_once = args.max_concurrency or 2 * llm.config.max_batch
        return await run_batch(
            build_app(llm, config), source, results, max_concurrency=at_once, progress=progress
        )
    finally:
        await llm.close()


def _open(source: Path, output: Path) -> BinaryIO:
    try:
        if output.exists() and source.samefile(output):
            raise ConfigError(f"{source} is both input and output; name another file for the results")
        return open(source, "rb")
    except OSError as error:
        raise ConfigError(f"cannot read {source}: {error.strerror}") from None


def _num_lines(source: BinaryIO) -> int:
    """How many lines there are, roughly: blank ones count, and only a file that can be read twice."""
    if not source.seekable():
        return 0
    count = sum(chunk.count(b"\n") for chunk in iter(lambda: source.read(CHUNK), b""))
    source.seek(0)
    return count


def _print(summary: Summary, args: argparse.Namespace, num_failed: int) -> None:
    told: dict[str, Any] = {
        "total": summary.total,
        "completed": summary.completed,
        "failed": summary.failed,
        "skipped": summary.skipped,
        "failed_in_all": num_failed,
        "prompt_tokens": summary.prompt_tokens,
        "completion_tokens": summary.completion_tokens,
        "duration_s": round(summary.duration_s, 3),
        "output": str(args.output),
    }
    if args.json:
        sys.stdout.write(json.dumps(told) + "\n")
        return
    rate = summary.completion_tokens / summary.duration_s if summary.duration_s else 0.0
    sys.stdout.write(
        f"{summary.total} requests: {summary.completed} answered, {summary.failed} failed, "
        f"{summary.skipped} had a result before | {summary.duration_s:.1f} s, {rate:.1f} tokens/s | "
        f"{args.output}\n"
    )
    if num_failed:
        sys.stdout.write(f"{num_failed} results are errors; --retry-errors asks those again\n")
