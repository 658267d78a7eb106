"""Open the model that the flags name: fetch it when it is an alias that is not there yet, then load it."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from redline.cli.engine_flags import engine_options
from redline.cli.terminal import progress_bar
from redline.config.engine import EngineConfig

if TYPE_CHECKING:
    from redline.async_llm import AsyncLLM
    from redline.llm import LLM


def open_llm(args: argparse.Namespace, **options: Any) -> LLM:
    """An LLM for the flags; `options` are what the verb itself settles."""
    settings = check_engine_flags(args, **options)
    from redline.llm import LLM

    fetch(args.model)
    with progress_bar(f"loading {args.model}") as progress:
        return LLM(args.model, progress=progress, **settings)


def open_async_llm(args: argparse.Namespace) -> AsyncLLM:
    """An AsyncLLM for the flags."""
    settings = check_engine_flags(args)
    from redline.async_llm import AsyncLLM

    fetch(args.model)
    with progress_bar(f"loading {args.model}") as progress:
        return AsyncLLM(args.model, progress=progress, **settings)


def check_engine_flags(args: argparse.Namespace, **options: Any) -> dict[str, Any]:
    """The engine's options. A wrong flag is refused before anything is imported or downloaded."""
    settings = {**options, **engine_options(args)}
    EngineConfig.from_dict({"model": args.model, **settings})
    return settings


def fetch(model: str) -> Path:
    """Where `model` lies; an alias or repository that is not in the cache is downloaded first."""
    from redline.models.pull import pull

    with progress_bar(f"fetching {model}") as progress:
        return pull(model, progress=progress)
