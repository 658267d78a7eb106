#!/usr/bin/env python3
"""Ten times the load that the server can serve: who is admitted is served in time, the rest is told at once.

    scripts/overload --seconds 60 --json out.json --markdown out.md

First the capacity is measured: requests in a closed loop, as many as fill batch and queue. Then they come at
--times the capacity, at random times, whatever becomes of them. The promise about latency is what the limit
of the queue says: who is admitted stands behind at most --max-queue prompts, and behind what runs, so p99 of
the time to the first token is at most 2 (max_queue + max_batch) / capacity (2: the sender shares the
machine). In the end all is idle, memory is what it was, and the capacity is there again.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import time
from collections import Counter

from results import Row, add_arguments, report
from served import COMPLETIONS, Served, serving
from traffic import Outcome, exchange, percentile

SLACK = 2.0
NEVER_S = 1.0  # a refusal that takes longer on a machine that is busy ten times over was not "at once"
WORDS = ["the", "of", "and", "to", "in", "is", "was", "for", "on", "that", "with", "as", "by", "at", "from"]


def request(draw: random.Random) -> dict[str, object]:
    prompt = " ".join(draw.choice(WORDS) for _ in range(24))
    return {"prompt": prompt, "max_tokens": 16, "ignore_eos": True, "stream": True, "temperature": 0}


async def closed_loop(port: int, clients: int, seconds: float) -> float:
    """Requests that are answered in a second, with so many clients that ask again and again."""
    end_s, draw = time.perf_counter() + seconds, random.Random(1)

    async def client() -> int:
        served = 0
        while time.perf_counter() < end_s:
            served += (await exchange(port, COMPLETIONS, request(draw))).status == 200
        return served

    start_s = time.perf_counter()
    served = sum(await asyncio.gather(*(client() for _ in range(clients))))
    return served / (time.perf_counter() - start_s)


async def open_loop(port: int, per_second: float, seconds: float) -> list[Outcome]:
    """Requests that come at random times, without regard to those that are still there."""
    draw, tasks = random.Random(2), []
    start_s = due_s = time.perf_counter()
    while due_s < start_s + seconds:
        tasks.append(asyncio.create_task(exchange(port, COMPLETIONS, request(draw))))
        due_s += draw.expovariate(per_second)
        await asyncio.sleep(max(0.0, due_s - time.perf_counter()))
    return list(await asyncio.gather(*tasks))


async def peak_memory(server: Served, running: asyncio.Future[list[Outcome]]) -> float:
    """The most that the server took while it ran, in MiB."""
    peak = 0.0
    while not running.done():
        peak = max(peak, server.resident_mib())
        await asyncio.sleep(0.1)
    return peak


async def measure(server: Served, args: argparse.Namespace) -> tuple[list[Row], list[str]]:
    clients = args.max_batch + args.max_queue
    await closed_loop(server.port, clients, args.seconds / 20)  # warm
    capacity = await closed_loop(server.port, clients, args.seconds / 6)
    await open_loop(server.port, args.times * capacity, args.seconds / 10)  # warm, as overload goes
    before_mib = server.resident_mib()
    running = asyncio.ensure_future(open_loop(server.port, args.times * capacity, args.seconds))
    peak_mib = await peak_memory(server, running)
    outcomes, start_s = running.result(), time.perf_counter()
    while not server.is_idle():
        await asyncio.sleep(0.05)
    idle_s = time.perf_counter() - start_s
    after = max(
        [await closed_loop(server.port, clients, args.seconds / 6) for _ in range(2)]
    )  # others are here
    admitted = [outcome for outcome in outcomes if outcome.status == 200]
    refused = [outcome.total_s for outcome in outcomes if outcome.status in (429, 503)]
    others = Counter(outcome.status for outcome in outcomes) - Counter({200: 10**9, 429: 10**9, 503: 10**9})
    first_s = [outcome.first_s for outcome in admitted]
    bound_s = SLACK * clients / capacity
    rows: list[Row] = [
        {"what": "capacity, requests/s", "value": capacity},
        {"what": "sent", "value": len(outcomes)},
        {"what": "sent/s", "value": len(outcomes) / args.seconds},
        {"what": "admitted", "value": len(admitted)},
        {"what": "refused", "value": len(refused)},
        {"what": "anything else", "value": str(dict(others))},
        {"what": "promised first token p99, s", "value": bound_s},
        {"what": "first token p50, s", "value": percentile(first_s, 0.5)},
        {"what": "first token p99, s", "value": percentile(first_s, 0.99)},
        {"what": "refusal p50, s", "value": percentile(refused, 0.5)},
        {"what": "refusal p99, s", "value": percentile(refused, 0.99)},
        {"what": "memory before, MiB", "value": before_mib},
        {"what": "memory at most, MiB", "value": peak_mib},
        {"what": "memory after, MiB", "value": server.resident_mib()},
        {"what": "idle again after, s", "value": idle_s},
        {"what": "capacity afterwards, requests/s", "value": after},
    ]
    broken = {
        "somebody got neither an answer nor a refusal": bool(others),
        "nobody was refused": not refused,
        "a first token came late": percentile(first_s, 0.99) > bound_s,
        "a refusal came late": percentile(refused, 0.99) > NEVER_S,
        "memory grew by a tenth": peak_mib > 1.1 * before_mib,
        "the capacity did not come back": after < 0.5 * capacity,
    }
    return rows, [what for what, is_so in broken.items() if is_so]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=60, help="of overload (default: 60)")
    parser.add_argument("--times", type=float, default=10, help="the capacity (default: 10)")
    parser.add_argument("--max-batch", type=int, default=8)
    parser.add_argument("--max-queue", type=int, default=16)
    add_arguments(parser)
    args = parser.parse_args()
    options = ["--max-context", "256", "--kv-memory", "64MiB"]
    options += ["--max-batch", str(args.max_batch), "--max-queue", str(args.max_queue)]
    with serving(*options) as server:
        rows, broken = asyncio.run(measure(server, args))
    report(args, f"{args.times:g} times the capacity for {args.seconds:g} s", {"Overload": rows})
    for what in broken:
        sys.stdout.write(f"broken: {what}\n")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
