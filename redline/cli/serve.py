"""redline serve: one model or several over HTTP, with the OpenAI API."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from redline.cli.engine_flags import add_engine_flags
from redline.cli.loading import open_async_llm
from redline.cli.model_settings import ModelSetting, model_settings
from redline.cli.pool_flags import add_pool_flags
from redline.cli.server_flags import add_server_flags, server_config
from redline.config.memory import describe
from redline.errors import ConfigError
from redline.parsing.choose import choose
from redline.server.config import ServerConfig

if TYPE_CHECKING:
    from redline.async_llm import AsyncLLM
    from redline.server.draining import DrainingServer
    from redline.server.pool.pool import ModelPool

EXIT_STUCK = 1


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_pool_flags(parser)
    add_server_flags(parser)
    parser.add_argument(
        "--trace",
        type=Path,
        metavar="FILE",
        help="write the scheduler's latest decisions there at the end, for Perfetto or chrome://tracing",
    )
    parser.add_argument("--log-json", action="store_true", help="log JSON, one object a line (default: text)")
    add_engine_flags(parser)
    parser.set_defaults(model=None)  # so that it shows whether the flag is given beside others


def run(args: argparse.Namespace) -> int:
    import asyncio

    settings = model_settings(args)
    args.model = settings[0].model
    config = server_config(args)
    several = _several(settings, args)
    from redline.server.log_format import set_up_logging

    set_up_logging(as_json=args.log_json)
    # Before the model: what the process holds until then is part of its memory budget.
    import redline.server.serve  # noqa: F401

    return asyncio.run(_serve_several(settings, args, config) if several else _serve(args, config))


def _several(settings: list[ModelSetting], args: argparse.Namespace) -> bool:
    """Whether models come and go; a single one is simply there. Raises ConfigError."""
    comes_and_goes = args.unload_idle is not None or args.preload == 0
    several = len(settings) > 1 or settings[0].name is not None or comes_and_goes
    if several and args.trace is not None:
        raise ConfigError("--trace writes the decisions of one model; serve one, or leave it out")
    if not 0 <= args.preload <= len(settings):
        raise ConfigError(
            f"--preload is {args.preload}; it must be 0 to {len(settings)}, the number of models"
        )
    for flag in ("models_memory", "max_models", "residency"):
        if not several and getattr(args, flag) is not None:
            name = flag.replace("_", "-")
            raise ConfigError(f"--{name} is for several models; leave it out (--memory bounds one)")
    return several


async def _serve_several(settings: list[ModelSetting], args: argparse.Namespace, config: ServerConfig) -> int:
    """The same for models that come and go: listen, load the first of them, serve, unload."""
    import asyncio

    from redline.cli.model_pool import model_entries, pool_config
    from redline.server.serve import serve_when_ready

    opened: list[ModelPool] = []

    async def get_ready(server: DrainingServer) -> None:
        limits = pool_config(args)
        entries, lines = await asyncio.to_thread(model_entries, settings, limits, config)
        opened.append(server.pool(entries, limits))
        sys.stderr.write("\n".join(lines) + "\n")
        await opened[0].preload(args.preload)
        server.ready_with(opened[0])

    number = await serve_when_ready(get_ready, config)
    if number is not None:
        _end_by(number)
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    (pool,) = opened
    _end_if_stuck(pool.stalled_s, config)
    await pool.close()
    return 0


async def _serve(args: argparse.Namespace, config: ServerConfig) -> int:
    """Load, serve, close. Signals that come while it closes end the process as if nobody handled them."""
    import asyncio

    from redline.server.serve import serve

    opened: list[AsyncLLM] = []

    async def load() -> AsyncLLM:
        opened.append(await asyncio.to_thread(_load, args, config))
        return opened[0]

    number = await serve(load, config)
    if number is not None:
        _end_by(number)
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    (llm,) = opened
    _end_if_stuck(llm.stalled_s, config)
    if args.trace is not None:
        llm.write_trace(args.trace)
    await llm.close()
    return 0


def _load(args: argparse.Namespace, config: ServerConfig) -> AsyncLLM:
    from redline.cli.roofline import known_roofline

    llm = open_async_llm(args)
    llm.roofline = known_roofline(llm)
    # Beside the log: the first line on stdout says where the server listens, and programs read it.
    parsers = choose(config.tool_call_parser, config.reasoning_parser, llm.chat_template)
    sys.stderr.write("\n".join([*describe(llm.memory), *parsers.reasons]) + "\n")
    return llm


def _end_if_stuck(stalled_s: float, config: ServerConfig) -> None:
    if config.step_timeout_s is not None and stalled_s > config.step_timeout_s:
        sys.stderr.write("redline: error: the engine is stuck and cannot be closed\n")
        os._exit(EXIT_STUCK)


def _end_by(number: signal.Signals) -> NoReturn:
    """End at once, whatever threads still do, in the way that tells the parent which signal it was."""
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
    os._exit(128 + number)  # a signal that this process may not send itself
