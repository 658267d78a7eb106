#!/usr/bin/env python3
"""Clients that hang up at any time: nothing is held for them afterwards, and nobody else notices.

    .venv/bin/python benchmarks/disconnects.py --requests 10000 --json out.json --markdown out.md

Of every kind of request, streamed or not, some leave before all of it is sent, some after so many bytes of
the answer, some after a while; half of them with a reset. In the end the server is idle, all blocks are free,
each request that came has ended once, the descriptors are those of the beginning, and a canary is answered
as before.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import time
from typing import Any

from fuzz_server import wait_until_idle
from results import Row, add_arguments, report
from served import CHAT, COMPLETIONS, MODEL, Served, serving
from traffic import leave, request_bytes

MESSAGES = [{"role": "user", "content": "Tell me about rivers."}]
CANARY = {"model": MODEL, "messages": MESSAGES, "max_tokens": 8, "temperature": 0}
BODIES: list[tuple[str, dict[str, Any]]] = [
    (CHAT, {"messages": MESSAGES, "max_tokens": 40}),
    (CHAT, {"messages": MESSAGES, "max_tokens": 40, "n": 3}),
    (CHAT, {"messages": MESSAGES, "max_tokens": 40, "regex": "[a-z ]{60}"}),
    (COMPLETIONS, {"prompt": ["a", "b c", "d e f"], "max_tokens": 20}),
    (COMPLETIONS, {"prompt": "one two three", "max_tokens": 30, "use_beam_search": True, "n": 2}),
    (COMPLETIONS, {"prompt": "x " * 90, "max_tokens": 4, "prompt_logprobs": 1}),
    ("/v1/messages", {"messages": MESSAGES, "max_tokens": 40}),
    ("/v1/responses", {"input": "Tell me about rivers.", "max_output_tokens": 40}),
    ("/v1/embeddings", {"input": ["some text", "more text"]}),
    ("/tokenize", {"prompt": "word " * 500}),
]
STREAMED = {CHAT, COMPLETIONS, "/v1/messages", "/v1/responses"}


async def one(server: Served, draw: random.Random) -> None:
    """One client that leaves."""
    path, body = draw.choice(BODIES)
    if path in STREAMED and "use_beam_search" not in body and draw.random() < 0.5:
        body = {**body, "stream": True}
    data = request_bytes(path, body)
    if draw.random() < 0.1:
        data = data[: draw.randrange(1, len(data))]
    after_bytes = draw.choice([0, 1, 200, 2000])
    rudely = draw.random() < 0.5
    await leave(server.port, data, after_bytes, draw.choice([0.0005, 0.01, 0.03, 0.1, 0.5]), rudely=rudely)


async def all_of_them(server: Served, requests: int, clients: int) -> None:
    draw, left = random.Random(4), iter(range(requests))

    async def client() -> None:
        for _ in left:
            await one(server, draw)

    await asyncio.gather(*(client() for _ in range(clients)))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--clients", type=int, default=16, help="at the same time (default: 16)")
    add_arguments(parser)
    args = parser.parse_args()
    with serving("--max-context", "256", "--max-batch", "8", "--kv-memory", "64MiB") as server:
        expected = server.words(CHAT, CANARY)
        asyncio.run(all_of_them(server, min(200, args.requests), args.clients))  # warm
        wait_until_idle(server)
        before_mib, descriptors, start_s = server.resident_mib(), server.num_descriptors(), time.monotonic()
        asyncio.run(all_of_them(server, args.requests, args.clients))
        took_s = time.monotonic() - start_s
        wait_until_idle(server)
        gauges = server.gauges()
        row: Row = {
            "requests": args.requests,
            "took_s": took_s,
            "arrived": int(gauges["requests_arrived_total"]),
            "finished": int(gauges["requests_finished_total"]),
            "aborted": int(gauges["requests_aborted_total"]),
            "blocks_held": gauges["kv_cache_usage_perc"],
            "memory_mib": f"{before_mib:.0f} -> {server.resident_mib():.0f}",
            "descriptors": f"{descriptors} -> {server.num_descriptors()}",
            "canary": "same" if server.words(CHAT, CANARY) == expected else "different",
        }
        leaked = server.num_descriptors() > descriptors + 2
    report(args, "Clients that hang up", {"Disconnects": [row]})
    return 1 if leaked or row["canary"] != "same" else 0


if __name__ == "__main__":
    sys.exit(main())
