"""How exact is the load generator with a thousand streams on one core?

    python benchmarks/load_generator.py [--streams 1000] [--realtime] [--httpx] [--agree] [--json FILE]

A mock server on one core sends tokens and notes when each was given to the kernel; the generator on another
core, in a process pinned to it, measures the same streams. The rows show the difference of each TTFT and TBT.
Exit code 1 when the 1st or the 99th percentile of either is off by more than 1 ms and 1 %. `--realtime` runs
both ahead of all other work of the machine (it needs root): on a busy machine the numbers are those of the
scheduler else. `--httpx` measures httpx's streams in the same way, for comparison. `--agree` runs the
benchmark twice against the mock and counts how many numbers of the second lie in the first's intervals.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
from results import Row, add_arguments, report

from redline.bench.serving.arrivals import Closed
from redline.bench.serving.bench import ServePlan, Subject, bench_serve, subject_report
from redline.bench.serving.call import Timeouts
from redline.bench.serving.connection import stamping
from redline.bench.serving.endpoint import Endpoint
from redline.bench.serving.generator import allow_files, generate_load
from redline.bench.workloads import Request, Workload

TTFT_S, TBT_S = 0.5, 0.05
LIMIT_S, LIMIT_SHARE = 1e-3, 0.01
PRIORITY = 5
SHARES = (1, 50, 99)

Stream = tuple[float, list[float]]  # when it was asked for, and when its chunks came


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--streams", type=int, default=1000)
    parser.add_argument("--tokens", type=int, default=100)
    parser.add_argument("--realtime", action="store_true")
    parser.add_argument("--httpx", action="store_true")
    parser.add_argument("--agree", action="store_true")
    add_arguments(parser)
    args = parser.parse_args()
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {0})
    if args.realtime:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(PRIORITY))
    results: dict[str, list[Row]] = {}
    clients = {"redline bench": _redline, **({"httpx": _httpx} if args.httpx else {})}
    rows = [_row(name, client, args) for name, client in clients.items()]
    results[f"Error of {args.streams} streams beside what the server did, ms"] = rows
    if args.agree:
        results["Numbers of a second run within the interval of the first"] = [_agree(args)]
    os.sched_setaffinity(0, cores)  # or the report would say that the machine has one
    report(args, "The load generator beside a server of known latencies", results)
    return 0 if rows[0]["exact"] == "yes" else 1


def _row(name: str, client: object, args: argparse.Namespace) -> Row:
    with tempfile.NamedTemporaryFile() as log, _mock(args, log.name) as url:
        cpu_s, start_s = time.process_time(), time.perf_counter()
        streams = asyncio.run(client(url, args.streams, args.tokens))  # type: ignore[operator]
        cores = (time.process_time() - cpu_s) / (time.perf_counter() - start_s)
        time.sleep(0.5)
        known = [json.loads(line) for line in Path(log.name).read_text().splitlines()]
    whole = [stream for stream in streams if len(stream[1]) == args.tokens]
    row: Row = {"client": name, "streams": len(whole), "incomplete": len(streams) - len(whole)}
    # Both lists in the order of the first tokens: they are further apart than any error that would matter.
    known.sort(key=lambda line: line["sent_s"][0])
    streams.sort(key=lambda stream: stream[1][0] if stream[1] else float("inf"))
    pairs = [pair for pair in zip(known, streams, strict=False) if len(pair[1][1]) == args.tokens]
    if not pairs:
        return {**row, "exact": "no"}
    ttft = _errors(
        [each["sent_s"][0] - each["came_s"] for each, _ in pairs], [s[1][0] - s[0] for _, s in pairs]
    )
    tbt = _errors(
        np.concatenate([np.diff(each["sent_s"]) for each, _ in pairs]),
        np.concatenate([np.diff(s[1]) for _, s in pairs]),
    )
    row |= {f"TTFT p{share}": error * 1e3 for share, error in zip(SHARES, ttft[0], strict=True)}
    row |= {f"TBT p{share}": error * 1e3 for share, error in zip(SHARES, tbt[0], strict=True)}
    return {**row, "cores": cores, "exact": "yes" if ttft[1] and tbt[1] else "no"}


def _errors(known: object, measured: object) -> tuple[np.ndarray, bool]:
    """Percentiles of the difference, and whether they stay within the limits."""
    errors = np.subtract(measured, known)
    found = np.percentile(errors, SHARES)
    limit_s = max(LIMIT_S, LIMIT_SHARE * float(np.median(known)))
    return found, bool(max(-found[0], found[-1]) <= limit_s)


@contextlib.contextmanager
def _mock(args: argparse.Namespace, log: str = "/dev/null") -> Iterator[str]:
    core = str(1 if (os.cpu_count() or 1) > 1 else 0)
    ahead = ["chrt", "--fifo", str(PRIORITY)] if args.realtime else []
    mock = [sys.executable, "-m", "redline.bench.serving.mock_endpoint"]
    flags = ["--ttft", str(TTFT_S), "--tbt", str(TBT_S), "--log", log]
    with subprocess.Popen(
        [*ahead, "taskset", "-c", core, *mock, *flags], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.terminate()


def _workload(streams: int, tokens: int) -> Workload:
    request = Request(({"role": "user", "content": "hello"},), tokens)
    return Workload("mock", "", ((request,),) * streams)


async def _redline(url: str, streams: int, tokens: int) -> list[Stream]:
    endpoint = Endpoint(base_url=url, model="mock")
    with stamping():
        await asyncio.sleep(0.05)
        run = await generate_load(
            endpoint, _workload(streams, tokens), Closed(streams), Timeouts(), asyncio.Event()
        )
    return [(each.sent_s, list(each.answer.chunk_s)) for each in run.outcomes]


async def _httpx(url: str, streams: int, tokens: int) -> list[Stream]:
    """One coroutine a stream, which stamps each line that it gets."""
    allow_files(streams)
    body = Endpoint(base_url=url, model="mock").body(_workload(1, tokens).requests[0])
    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(limits=limits, timeout=60.0, trust_env=False) as client:

        async def one() -> Stream:
            sent_s, came = time.perf_counter(), []
            async with client.stream("POST", f"{url}/v1/chat/completions", json=body) as response:
                async for line in response.aiter_lines():
                    if line.startswith('data: {"id"') and json.loads(line[6:])["choices"][:1]:
                        came.append(time.perf_counter())
            return sent_s, came[:tokens]  # the one behind them has no text

        return list(await asyncio.gather(*(one() for _ in range(streams))))


def _agree(args: argparse.Namespace) -> Row:
    """Two whole benchmarks of 32 users, one after the other."""
    plan = ServePlan(
        workload=lambda repeat: _workload(128, 20),
        arrivals=Closed(32),
        timeouts=Timeouts(),
        repeats=5,
        warm_up=4,
    )
    reports = []
    with _mock(args) as url:
        for _ in range(2):
            subject = Subject("mock", Endpoint(base_url=url, model="mock"))
            asyncio.run(bench_serve([subject], plan))
            reports.append(subject_report(subject, plan, None, None)["metrics"])
    first, second = reports
    outside = [
        name for name, each in first.items() if not each["low"] <= second[name]["mean"] <= each["high"]
    ]
    return {
        "numbers": len(first),
        "within": len(first) - len(outside),
        "outside": ", ".join(outside) or "none",
    }


if __name__ == "__main__":
    sys.exit(main())
