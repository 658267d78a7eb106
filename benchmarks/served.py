"""A real `redline serve` in a process of its own, and what the scripts here ask of it."""

from __future__ import annotations

import contextlib
import http.client
import json
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

MODEL = "smollm2"
CHAT, COMPLETIONS = "/v1/chat/completions", "/v1/completions"
_SAMPLE = re.compile(r"^redline:(\w+)(?:\{[^}]*\})? (\S+)$", re.MULTILINE)


class Served:
    """The server at `url`. Every question has a connection of its own."""

    def __init__(self, url: str, pid: int = 0) -> None:
        self.url = url
        self.pid = pid
        self.port = int(url.rpartition(":")[2])

    def ask(self, method: str, path: str, body: Any = None, timeout_s: float = 60) -> tuple[int, bytes]:
        """Status and body of the answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout_s)
        with contextlib.closing(connection):
            content = None if body is None else json.dumps(body)
            connection.request(method, path, content, {"content-type": "application/json"})
            response = connection.getresponse()
            return response.status, response.read()

    def words(self, path: str, body: Any) -> str:
        """The choices of an answer, as JSON: all of it that must not change."""
        status, answer = self.ask("POST", path, body)
        assert status == 200, (status, answer)
        return json.dumps(json.loads(answer)["choices"])

    def gauges(self) -> dict[str, float]:
        """The latest value of every metric without buckets, by its name without `redline:`."""
        return {
            name: float(value) for name, value in _SAMPLE.findall(self.ask("GET", "/metrics")[1].decode())
        }

    def is_idle(self) -> bool:
        """Nothing runs, waits or holds a block, and every request that came has ended once."""
        gauges = self.gauges()
        ended = sum(gauges[f"requests_{how}_total"] for how in ("finished", "aborted", "refused"))
        held = [gauges[name] for name in ("num_requests_running", "num_requests_waiting")]
        held += [gauges["kv_cache_usage_perc"], gauges["requests_in_flight"]]
        return not any(held) and ended == gauges["requests_arrived_total"]

    def resident_mib(self) -> float:
        """Memory of the process that nobody else could use."""
        text = Path(f"/proc/{self.pid}/status").read_text()
        fields = dict(line.split(":", 1) for line in text.splitlines())
        return sum(int(fields[name].split()[0]) for name in ("RssAnon", "RssShmem")) / 1024

    def num_descriptors(self) -> int:
        """Files and sockets that it has open."""
        return len(list(Path(f"/proc/{self.pid}/fd").iterdir()))


@contextlib.contextmanager
def serving(*options: str, model: str = MODEL) -> Iterator[Served]:
    """`redline serve` with `options`, ready; it must end well when the block ends."""
    command = [sys.executable, "-m", "redline.cli.main", "serve", "--model", model, "--port", "0", *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as child:
        try:
            assert child.stdout is not None
            found = re.search(r"http://\S+", child.stdout.readline())
            assert found is not None, f"the server did not start: {' '.join(command)}"
            yield Served(found.group(), child.pid)
            child.send_signal(signal.SIGTERM)
            assert child.wait(60) == 0, f"the server ended with code {child.returncode}"
        finally:
            child.kill()
