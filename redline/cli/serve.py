"""redline serve: one model over HTTP, with the OpenAI API."""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from redline.cli.engine_flags import add_engine_flags
from redline.cli.loading import open_async_llm
from redline.config.memory import describe
from redline.server.config import ServerConfig

if TYPE_CHECKING:
    from redline.async_llm import AsyncLLM

HOST, PORT = "127.0.0.1", 8000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--host", default=HOST, help=f"address to listen on (default: {HOST}: this machine)")
    parser.add_argument(
        "--port", type=int, default=PORT, metavar="N", help=f"0: a free one (default: {PORT})"
    )
    parser.add_argument(
        "--trace",
        type=Path,
        metavar="FILE",
        help="write the scheduler's latest decisions there at the end, for Perfetto or chrome://tracing",
    )
    add_engine_flags(parser)


def run(args: argparse.Namespace) -> int:
    import asyncio

    config = server_config(args)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("uvicorn").setLevel(logging.WARNING)  # the server says itself where it listens
    # Before the model: what the process holds until then is part of its memory budget.
    import redline.server.serve  # noqa: F401

    llm = open_async_llm(args)
    # Beside the log: the first line on stdout says where the server listens, and programs read it.
    sys.stderr.write("\n".join(describe(llm.memory)) + "\n")
    try:
        asyncio.run(_serve(llm, config))
    finally:
        if args.trace is not None:
            llm.write_trace(args.trace)
    return 0


def server_config(args: argparse.Namespace) -> ServerConfig:
    """The server answers to the name on the command line besides the model's own."""
    queue = {"max_waiting": args.max_waiting} if hasattr(args, "max_waiting") else {}
    return ServerConfig(host=args.host, port=args.port, aliases=(args.model,), **queue)


async def _serve(llm: AsyncLLM, config: ServerConfig) -> None:
    from redline.server.serve import serve

    async with llm:
        await serve(llm, config)
