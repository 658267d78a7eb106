#!/usr/bin/env python3
"""What the HTTP server costs, on SmolLM2: throughput, time from a step to the wire, CPU of an idle server.

    .venv/bin/python benchmarks/serving_overhead.py --repeats 5 --json out.json --markdown out.md

Throughput: the same new prompts go to `LLM.generate`, to `AsyncLLM` in a process, and as streams of
completions to `redline serve`; they take turns in each repeat, and ratios are medians over the repeats. A
server keeps steps short for whoever may arrive, which costs throughput and not HTTP: it takes part with and
without that (`--step-time none`, as `LLM.generate` has it), and the bar is for the latter. The client of
the server is this process: it reads what has come every --read-every seconds, so that it takes little of
the machine that it shares with the server, and its CPU time is in the report. Time to the wire is what the
server measures itself (`redline:step_to_wire_seconds`), CPU time is what the system says of its threads:
the first one is the event loop.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import selectors
import socket
import statistics
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

from results import Row, add_arguments, report

MODEL = "smollm2"
VOCABULARY = 49152
TICKS_PER_S = os.sysconf("SC_CLK_TCK")
# What must hold: HTTP has so much of the throughput of LLM.generate, and so many seconds to the wire.
LEAST_SHARE, MOST_TO_WIRE_S, MOST_IDLE_S = 0.95, 0.005, 0.05
Prompts = list[list[int]]


class Offline:
    """A process that answers without HTTP; `kind` is LLM or AsyncLLM."""

    def __init__(self, kind: str, options: dict[str, Any]) -> None:
        command = [sys.executable, __file__, "--worker", kind]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._tell(options)

    def run(self, prompts: Prompts, max_tokens: int) -> float:
        """Seconds for all answers."""
        return float(self._tell({"prompts": prompts, "max_tokens": max_tokens}))

    def _tell(self, message: dict[str, Any]) -> str:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps(message) + "\n")
        self._process.stdin.flush()
        return self._process.stdout.readline()

    def close(self) -> None:
        self._process.kill()
        self._process.wait()


class Server:
    """`redline serve` in a process of its own."""

    def __init__(self, options: dict[str, Any], read_every_s: float) -> None:
        flags = [
            text for name, value in options.items() for text in (f"--{name.replace('_', '-')}", str(value))
        ]
        command = [sys.executable, "-m", "redline.cli.main", "serve", "--model", MODEL, "--port", "0", *flags]
        self._process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        assert self._process.stdout is not None
        self._port = int(self._process.stdout.readline().partition("127.0.0.1:")[2].split()[0])
        self._read_every_s = read_every_s

    @property
    def pid(self) -> int:
        return self._process.pid

    def run(self, prompts: Prompts, max_tokens: int) -> float:
        """Seconds for all answers, from the first byte sent to the last one read."""
        return self.run_each(prompts, [max_tokens] * len(prompts))

    def run_each(self, prompts: Prompts, max_tokens: list[int]) -> float:
        """The same with a length for each answer."""
        bodies = [self._request(*each) for each in zip(prompts, max_tokens, strict=True)]
        streams = [socket.create_connection(("127.0.0.1", self._port)) for _ in prompts]
        start_s = time.perf_counter()
        for stream, body in zip(streams, bodies, strict=True):
            stream.sendall(body)
        num_events = self._read_all(streams)
        assert num_events >= len(prompts) * 2, f"{num_events = }"
        return time.perf_counter() - start_s

    def _request(self, prompt: list[int], max_tokens: int) -> bytes:
        fields = {"model": MODEL, "prompt": prompt, "max_tokens": max_tokens, "temperature": 0}
        body = json.dumps({**fields, "ignore_eos": True, "stream": True}).encode()
        head = (
            "POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
            "Content-Type: application/json"
        )
        return f"{head}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body

    def _read_all(self, streams: list[socket.socket]) -> int:
        """Events of all streams, read until the server closes them."""
        num_events, tails = 0, dict.fromkeys(streams, b"")
        with selectors.DefaultSelector() as selector:
            for stream in streams:
                selector.register(stream, selectors.EVENT_READ)
            while selector.get_map():
                for key, _ in selector.select():
                    stream = key.fileobj
                    assert isinstance(stream, socket.socket)
                    if data := stream.recv(2**20):
                        num_events += data.count(b"data: ")
                        tails[stream] = (tails[stream] + data)[-64:]
                    else:
                        assert b"[DONE]" in tails[stream], tails[stream]
                        selector.unregister(stream)
                        stream.close()
                time.sleep(self._read_every_s)
        return num_events

    def metrics(self) -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{self._port}/metrics") as answer:
            return str(answer.read().decode())

    def close(self) -> None:
        self._process.terminate()
        self._process.wait()


def cpu_s(pid: int, thread: int | None = None) -> float:
    """CPU seconds of a process so far, or of one of its threads."""
    path = Path(f"/proc/{pid}/stat" if thread is None else f"/proc/{pid}/task/{thread}/stat")
    fields = path.read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_PER_S


def buckets(text: str) -> dict[float, float]:
    """Counts of redline:step_to_wire_seconds by upper bound."""
    pattern = r'^redline:step_to_wire_seconds_bucket\{.*?le="([^"]+)".*?\} (\S+)$'
    return {float(bound): float(count) for bound, count in re.findall(pattern, text, re.MULTILINE)}


def quantile(before: dict[float, float], after: dict[float, float], share: float) -> float:
    """The upper bound of the bucket that holds it."""
    counts = {bound: count - before.get(bound, 0.0) for bound, count in sorted(after.items())}
    total = max(counts.values())
    return next(bound for bound, count in counts.items() if count >= share * total)


def new_prompts(count: int, length: int, seed: str) -> Prompts:
    """Random token ids that no other seed has: nothing is found in a prefix cache."""
    ids = random.Random(seed)
    return [[ids.randrange(VOCABULARY) for _ in range(length)] for _ in range(count)]


def throughput(args: argparse.Namespace, arms: dict[str, Offline | Server]) -> list[Row]:
    tokens = args.streams * args.output_tokens
    rates: dict[str, list[float]] = {name: [] for name in arms}
    for repeat in range(args.repeats + 1):
        prompts = new_prompts(args.streams, args.prompt_tokens, f"throughput/{repeat}")
        for name, arm in arms.items():
            seconds = arm.run(prompts, args.output_tokens)
            if repeat:
                rates[name].append(tokens / seconds)
    rows = []
    for name, each in rates.items():
        row: Row = {"way": name, "output tok/s": statistics.median(each)}
        for other in ("LLM.generate", "AsyncLLM"):
            pairs = zip(each, rates[other], strict=True)
            row[f"of {other}"] = statistics.median(mine / theirs for mine, theirs in pairs)
        rows.append(row)
    return rows


def per_token(args: argparse.Namespace, server: Server, streams: int) -> Row:
    """One run: CPU time of the server's event loop and of its client for each token, and time to the wire.

    Answers are half to one and a half times as long as asked for, so that they do not all end in one step,
    as those of no load do.
    """
    lengths = [args.output_tokens // 2 + args.output_tokens * place // streams for place in range(streams)]
    prompts = new_prompts(streams, args.prompt_tokens, f"wire/{streams}/{time.time()}")
    before, loop_s, all_s = buckets(server.metrics()), cpu_s(server.pid, server.pid), cpu_s(server.pid)
    own_s = time.process_time()
    seconds = server.run_each(prompts, lengths)
    own_s, tokens = time.process_time() - own_s, sum(lengths)
    loop_s, all_s = cpu_s(server.pid, server.pid) - loop_s, cpu_s(server.pid) - all_s
    row: Row = {
        "streams": streams,
        "output tok/s": tokens / seconds,
        "event loop, us/token": loop_s / tokens * 1e6,
        "of the server's CPU": loop_s / all_s,
        "client, us/token": own_s / tokens * 1e6,
    }
    if after := buckets(server.metrics()):
        row |= {
            f"step to wire p{share:.0%}".rstrip("%"): quantile(before, after, share) for share in (0.5, 0.99)
        }
    return row


def idle(server: Server, seconds: float) -> Row:
    time.sleep(1.0)
    before_s = cpu_s(server.pid)
    time.sleep(seconds)
    return {"seconds": seconds, "CPU seconds": cpu_s(server.pid) - before_s}


def bars(results: dict[str, list[Row]]) -> list[Row]:
    """Each bar beside what was measured, as far as it was."""
    rows: list[Row] = []
    for name, each in results.items():
        if name.startswith("Throughput"):
            share = next(float(str(row["of LLM.generate"])) for row in each if row["way"] == "HTTP")
            rows.append(
                {"bar": f"at least {LEAST_SHARE:.0%}", "measured": share, "holds": share >= LEAST_SHARE}
            )
        elif name.startswith("From a step"):
            wire_s = statistics.median(float(str(row["step to wire p99"])) for row in each)
            at_most = f"at most {MOST_TO_WIRE_S} s"
            rows.append({"bar": at_most, "measured": wire_s, "holds": wire_s <= MOST_TO_WIRE_S})
        else:
            cpu = float(str(each[0]["CPU seconds"]))
            at_most = f"at most {MOST_IDLE_S} s of CPU"
            rows.append({"bar": at_most, "measured": cpu, "holds": cpu <= MOST_IDLE_S})
    return rows


def work(kind: str) -> None:
    """The offline side: options on the first line of stdin, then a run a line."""
    options = json.loads(sys.stdin.readline())
    run = _generate(options) if kind == "LLM" else _gather(options)
    for line in iter(lambda: sys.stdin.readline(), ""):
        if line == "\n":
            continue
        request = json.loads(line)
        start_s = time.perf_counter()
        run(request["prompts"], request["max_tokens"])
        _answer(time.perf_counter() - start_s)


def _answer(value: object) -> None:
    sys.stdout.write(f"{value}\n")
    sys.stdout.flush()


def _generate(options: dict[str, Any]) -> Callable[[Prompts, int], None]:
    from redline import LLM, SamplingParams

    llm = LLM(MODEL, **options)
    _answer("ready")

    def run(prompts: Prompts, max_tokens: int) -> None:
        llm.generate(prompts, SamplingParams(max_tokens=max_tokens, temperature=0.0, ignore_eos=True))

    return run


def _gather(options: dict[str, Any]) -> Callable[[Prompts, int], None]:
    import asyncio

    from redline import AsyncLLM, SamplingParams

    llm = AsyncLLM(MODEL, **options)
    _answer("ready")

    def run(prompts: Prompts, max_tokens: int) -> None:
        params = SamplingParams(max_tokens=max_tokens, temperature=0.0, ignore_eos=True)

        async def drain(prompt: list[int]) -> None:
            async for _ in llm.stream(prompt, params):
                pass

        async def drain_all() -> None:
            await asyncio.gather(*map(drain, prompts))

        asyncio.run(drain_all())

    return run


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--streams", type=int, default=32, help="of the throughput (default: 32)")
    parser.add_argument("--wire-streams", type=int, default=64, help="of the time to the wire (default: 64)")
    parser.add_argument("--prompt-tokens", type=int, default=64)
    parser.add_argument("--output-tokens", type=int, default=128)
    parser.add_argument("--read-every", type=float, default=0.02, metavar="S", help="default: 0.02")
    parser.add_argument("--idle", type=float, default=10.0, metavar="S", help="default: 10")
    parser.add_argument("--only", choices=("throughput", "wire", "idle"), help="default: all three")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    add_arguments(parser)
    args = parser.parse_args()
    if args.worker:
        work(args.worker)
        return
    options = {"max_batch": max(args.streams, args.wire_streams), "kv_memory": "512MiB"}
    server = Server(options, args.read_every)
    arms: dict[str, Offline | Server] = {"HTTP, short steps": server}
    results: dict[str, list[Row]] = {}
    try:
        if args.only in (None, "throughput"):
            arms |= {
                "HTTP": Server({**options, "step_time": "none"}, args.read_every),
                "LLM.generate": Offline("LLM", options),
                "AsyncLLM": Offline("AsyncLLM", {**options, "step_time": None}),
            }
            results[f"Throughput, {args.streams} streams"] = throughput(args, arms)
        if args.only in (None, "wire"):
            server.run(new_prompts(args.wire_streams, args.prompt_tokens, "warm"), args.output_tokens)
            wire = [per_token(args, server, args.wire_streams) for _ in range(args.repeats)]
            results["From a step to the wire"] = wire
        if args.only in (None, "idle"):
            results["Idle"] = [idle(server, args.idle)]
    finally:
        for arm in arms.values():
            arm.close()
    results["Bars"] = bars(results)
    report(args, "What HTTP costs", results)


if __name__ == "__main__":
    main()
