"""read_trace(): a trace file, line by line; a bad line is named and counted, never guessed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from redline.bench.traces import azure, mooncake
from redline.bench.traces.traced import BadLine, Traced
from redline.errors import ConfigError

READERS: dict[str, Callable[[Iterator[str]], Iterator[Traced | BadLine]]] = {
    "azure": azure.read,
    "mooncake": mooncake.read,
}
SHOWN = 3  # bad lines in a message


@dataclass(frozen=True)
class Trace:
    """Requests by their time, the first at 0. `bad_lines` were left out."""

    kind: str
    name: str
    requests: tuple[Traced, ...]
    bad_lines: tuple[BadLine, ...] = field(default=())

    def describe(self) -> str:
        """In words, with what was left out."""
        bad = (
            f", {len(self.bad_lines)} bad lines left out ({_named(self.bad_lines)})" if self.bad_lines else ""
        )
        return f"{self.kind} trace {self.name}: {len(self.requests)} requests{bad}"


def read_trace(kind: str, path: Path, *, skip_bad_lines: bool = False, most: int | None = None) -> Trace:
    """Read a trace of the `kind` "azure" (CSV) or "mooncake" (JSON lines), at most `most` requests of it.

    Raises ConfigError when it cannot be read, has no request, or has a bad line and those are not skipped.
    """
    if kind not in READERS:
        raise ConfigError(f"--trace is of kind {kind!r}; the kinds are {', '.join(READERS)}")
    good: list[Traced] = []
    bad: list[BadLine] = []
    try:
        with path.open(encoding="utf-8", errors="replace") as lines:
            for line in READERS[kind](iter(lines)):
                if isinstance(line, BadLine):
                    bad.append(line)
                else:
                    good.append(line)
                if most is not None and len(good) >= most:
                    break
    except OSError as error:
        raise ConfigError(f"--trace cannot read {path}: {error.strerror}") from None
    if bad and not skip_bad_lines:
        raise ConfigError(f"{path} has {len(bad)} bad lines: {_named(bad)}; --skip-bad-lines leaves them out")
    if not good:
        raise ConfigError(f"{path} has no requests of an {kind} trace")
    good.sort(key=lambda request: request.at_s)
    return Trace(kind, path.name, tuple(each.moved(-good[0].at_s) for each in good), tuple(bad))


def _named(bad: list[BadLine] | tuple[BadLine, ...]) -> str:
    shown = "; ".join(str(line) for line in bad[:SHOWN])
    return shown + ("; ..." if len(bad) > SHOWN else "")
