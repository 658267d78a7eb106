"""The parent's side of a worker: start it, ask it, give up on it. workers/serve.py has the protocol."""

from __future__ import annotations

import json
import os
import selectors
import signal
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from redline.bench.peers.environments import PeerFailed

WORKERS = Path(__file__).parent.parent / "workers"
CHUNK = 1 << 16
LONGEST_REASON = 300


class Worker:
    """One running engine. Every method raises PeerFailed when it dies, hangs or answers nonsense."""

    def __init__(
        self,
        command: Sequence[str],
        options: dict[str, Any],
        variables: dict[str, str],
        open_timeout_s: float,
    ) -> None:
        # What the engine says on stderr is shown only if it fails.
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115  open as long as the worker
        self._process: subprocess.Popen[bytes] | None = None
        self._unread = b""
        try:
            self._process = start(command, options, variables, self._errors, stdin=subprocess.PIPE)
            self.hello = self._answer(open_timeout_s)
        except BaseException:  # Ctrl-C too: loading takes seconds, and nobody else knows of the process yet
            self.close()
            raise

    def ask(self, request: dict[str, Any], timeout_s: float) -> dict[str, Any]:
        """Send one request and wait for its answer."""
        assert self._process is not None and self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(request).encode() + b"\n")
            self._process.stdin.flush()
        except OSError:
            raise PeerFailed(self._why_it_ended()) from None
        return self._answer(timeout_s)

    def peak_memory_bytes(self) -> int | None:
        """The most memory the worker has held so far (VmHWM); None where the system does not tell."""
        assert self._process is not None
        try:
            lines = Path(f"/proc/{self._process.pid}/status").read_text().splitlines()
        except OSError:
            return None
        sizes = [int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:")]
        return sizes[0] if sizes else None

    def close(self) -> None:
        """End the worker, whatever it is doing."""
        if self._process is not None:
            end(self._process)
        self._errors.close()

    def _answer(self, timeout_s: float) -> dict[str, Any]:
        line = self._line(time.monotonic() + timeout_s)
        if line is None:
            raise PeerFailed(f"no answer within {timeout_s:.0f} s")
        if not line:
            raise PeerFailed(self._why_it_ended())
        try:
            answer = json.loads(line)
        except ValueError:
            raise PeerFailed(f"answered {line[:80]!r} instead of JSON") from None
        if "error" in answer:
            raise PeerFailed(" ".join(answer["error"].split())[:LONGEST_REASON])
        return dict(answer)

    def _line(self, deadline_s: float) -> bytes | None:
        """The next line; b"" when the worker has ended, None when time is up."""
        assert self._process is not None and self._process.stdout is not None
        pipe = self._process.stdout.fileno()
        with selectors.DefaultSelector() as selector:
            selector.register(pipe, selectors.EVENT_READ)
            while b"\n" not in self._unread:
                if not selector.select(max(0.0, deadline_s - time.monotonic())):
                    return None
                chunk = os.read(pipe, CHUNK)
                if not chunk:
                    return b""
                self._unread += chunk
        line, _, self._unread = self._unread.partition(b"\n")
        return line

    def _why_it_ended(self) -> str:
        assert self._process is not None
        code = self._process.wait()
        how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        self._errors.seek(0)
        said = [line.strip() for line in self._errors.read().decode(errors="replace").splitlines()]
        last = next((line for line in reversed(said) if line), "")
        return f"ended with {how}" + (f": {last[:LONGEST_REASON]}" if last else "")


def first_text_s(
    command: Sequence[str], options: dict[str, Any], variables: dict[str, str], timeout_s: float
) -> float:
    """Seconds from the start of a worker's process to the first byte of its text. Raises PeerFailed."""
    start_s = time.perf_counter()
    process = start(command, options, variables, subprocess.DEVNULL, stdin=subprocess.DEVNULL)
    try:
        assert process.stdout is not None
        with selectors.DefaultSelector() as selector:
            selector.register(process.stdout, selectors.EVENT_READ)
            if not selector.select(timeout_s):
                raise PeerFailed(f"no text within {timeout_s:.0f} s")
            first = os.read(process.stdout.fileno(), 1)
        seconds = time.perf_counter() - start_s
        if not first:
            raise PeerFailed(f"ended with code {process.wait()} before any text")
        process.stdout.read()
        return seconds
    finally:
        end(process)


def start(
    command: Sequence[str], options: dict[str, Any], variables: dict[str, str], errors: Any, stdin: int
) -> subprocess.Popen[bytes]:
    """A worker's process. Raises PeerFailed when there is no such program."""
    try:
        return subprocess.Popen(
            [*command, json.dumps(options)],
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=errors,
            env={**os.environ, **variables},
            start_new_session=True,  # Ctrl-C is for the parent, which ends its workers itself
        )
    except OSError as error:
        raise PeerFailed(f"cannot be started: {error}") from None


def end(process: subprocess.Popen[bytes]) -> None:
    """Kill a process and everything that reading or waiting for it would leave behind."""
    process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            pipe.close()
