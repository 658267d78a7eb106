"""run_client: all checks of one client against a server, in a process of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from tests.clients.catalogue import Client
from tests.clients.environments import InstallError
from tests.clients.server_process import Address

# Whatever a client wants from elsewhere fails at once, instead of being fetched unnoticed.
NOWHERE = "http://127.0.0.1:9"
OFFLINE = {
    "HTTP_PROXY": NOWHERE,
    "HTTPS_PROXY": NOWHERE,
    "NO_PROXY": "127.0.0.1,localhost",
    "HF_HUB_OFFLINE": "1",
    "DO_NOT_TRACK": "1",
}


@dataclass(frozen=True)
class Check:
    """One check of a program; `reason` says in a line why it failed."""

    name: str
    seconds: float
    reason: str | None


@dataclass
class Report:
    """What came of a client. `error`: why there is no complete answer."""

    client: str
    version: str = ""
    checks: list[Check] = field(default_factory=list)
    error: str | None = None

    @property
    def passed(self) -> bool:
        """True when every check ran and held."""
        return self.error is None and bool(self.checks) and all(check.reason is None for check in self.checks)


def run_client(client: Client, server: Address, tokenizer: Path, *, update: bool = False) -> Report:
    """Install the client if that is not done, and run its program. Failures are in the report."""
    report = Report(client.name)
    try:
        folder = client.environment.prepare(client.name, update)
        report.version = client.environment.version(folder)
        command = client.environment.command(folder, client.program)
    except InstallError as error:
        report.error = f"not installed: {error}"
        return report
    with tempfile.TemporaryDirectory(prefix="redline-client-") as work:
        Path(work, "tokenizer").symlink_to(tokenizer)
        code, out, err = _run([*command, *server, *client.only], work, client.timeout_s)
    report.checks = [_check(line) for line in out.splitlines() if line.startswith('{"check"')]
    if code is None:
        report.error = f"still running after {client.timeout_s:g} s"
    elif not code and not report.checks:
        report.error = "it checked nothing"
    elif code and all(check.reason is None for check in report.checks):
        last = err.strip().splitlines()[-1:] or ["it said nothing"]
        report.error = f"exit code {code}: {last[0][:300]}"
    return report


def _check(line: str) -> Check:
    found = json.loads(line)
    return Check(found["check"], found["seconds"], found["reason"])


def _run(command: list[str], work: str, timeout_s: float) -> tuple[int | None, str, str]:
    """Exit code (None: it took too long), stdout, stderr. What it started ends with it."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    environment |= {**OFFLINE, "HOME": work}
    with subprocess.Popen(
        command,
        cwd=work,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            out, err = process.communicate(timeout=timeout_s)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            return None, *process.communicate()
        return process.returncode, out, err
