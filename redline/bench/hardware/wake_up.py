"""How long it takes until another thread of the kernels, or another process, goes on with one's work."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

from redline import _kernels
from redline.ops.threads import set_num_threads

ECHO = "import os\nwhile os.read(0, 1): os.write(1, b'x')"
ROUND_TRIPS = 400
HAND_OVERS = 2000


def process_wake_up_s() -> float:
    """Until another, sleeping process has a byte that was written to a pipe: half a median round trip."""
    with subprocess.Popen(
        [sys.executable, "-S", "-c", ECHO], stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0
    ) as other:
        assert other.stdin is not None and other.stdout is not None
        times = []
        for _ in range(ROUND_TRIPS):
            start_s = time.perf_counter()
            other.stdin.write(b"x")
            other.stdout.read(1)
            times.append(time.perf_counter() - start_s)
        other.stdin.close()
    return statistics.median(times) / 2


def hand_over_s(num_threads: int) -> float:
    """What an op pays for more than one thread: the median time of one that does next to nothing.

    Its call from Python, without other threads, is taken off.
    """
    return max(0.0, _next_to_nothing_s(num_threads) - _next_to_nothing_s(1))


def _next_to_nothing_s(num_threads: int) -> float:
    set_num_threads(num_threads)
    times = []
    for _ in range(HAND_OVERS):
        start_s = time.perf_counter()
        _kernels.peak_macs(0, 1)
        times.append(time.perf_counter() - start_s)
    return statistics.median(times)
