"""verify: run every check on one model with the options that it will be served with."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from redline import env
from redline.bench.verify.exactness import exactness_checks
from redline.bench.verify.fidelity import fidelity_checks
from redline.bench.verify.outcome import Check, Outcome, run_check
from redline.bench.verify.subject import Subject
from redline.config.engine import EngineConfig
from redline.config.resolve import resolve_runtime
from redline.engine.memory import hardware
from redline.errors import ConfigError


def checks_for(model: str, path: Path, options: dict[str, Any]) -> list[Check]:
    """All checks of a model at `path`, in the order in which they run. Raises ConfigError for bad options."""
    runtime = resolve_runtime(EngineConfig(model=model, **options), hardware(), env.num_threads())
    subject = Subject(model, options)
    return [*exactness_checks(subject, runtime.threads), *fidelity_checks(subject, path, runtime)]


def chosen(checks: list[Check], names: list[str]) -> list[Check]:
    """Those with one of these names; without names, all. Raises ConfigError for a name that none has."""
    known = [check.name for check in checks]
    for name in names:
        if name not in known:
            raise ConfigError(f"--only has {name[:60]!r}; the checks are {', '.join(known)}")
    return [check for check in checks if not names or check.name in names]


def verify(checks: list[Check], tell: Callable[[str], None]) -> Iterator[Outcome]:
    """Run the checks, one after the other."""
    for number, check in enumerate(checks, 1):
        tell(f"{number} of {len(checks)}: {check.name}")
        yield run_check(check)
