#!/usr/bin/env python3
"""Everything that a server meets, for a long time: memory must not grow.

    scripts/soak --minutes 30 --json out.json --markdown out.md

Chats whole and streamed, completions with choices and logprobs, calls of tools, a new JSON schema each time,
responses that are stored, messages, embeddings, tokens, mistakes of every kind, and clients that hang up. A
canary is asked beside them and must get the same bytes each time. The memory of the server at the end (median
of the last tenth of the time) is held against what it was after two fifths; the stores that are bounded by
number are filled before it begins. At most 1 % more, and never a request that fails.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import random
import statistics
import sys
import time
from collections import Counter
from typing import Any

from disconnects import CANARY, all_of_them
from disconnects import one as hang_up
from fuzz_server import wait_until_idle
from results import Row, add_arguments, report
from served import CHAT, COMPLETIONS, Served, serving
from traffic import exchange

MOST_GROWTH = 0.01
SETTLED, LAST = (0.35, 0.45), (0.9, 1.0)  # shares of the time
WORDS = ["river", "stone", "green", "seven", "hello", "above", "light", "north", "paper", "quick"]
numbers = itertools.count()


def text(draw: random.Random, most: int) -> str:
    return " ".join(draw.choice(WORDS) for _ in range(draw.randint(1, most)))


def schema(number: int) -> dict[str, Any]:
    """One that never was before."""
    fields = {f"field_{number}": {"type": "integer"}, "kind": {"enum": [f"a{number}", "b"]}}
    return {"type": "object", "properties": fields, "required": list(fields), "additionalProperties": False}


def tool(name: str) -> dict[str, Any]:
    city = {"type": "object", "properties": {"city": {"enum": ["Oslo", "Rome"]}}, "required": ["city"]}
    return {"type": "function", "function": {"name": name, "parameters": city}}


def good(draw: random.Random) -> tuple[str, dict[str, Any]]:
    """A request that must be served."""
    messages = [{"role": "user", "content": text(draw, 30)}]
    tokens, stream = draw.randint(1, 24), draw.random() < 0.5
    form = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema(next(numbers))}}
    return draw.choice(
        [
            (CHAT, {"messages": messages, "max_tokens": tokens, "stream": stream}),
            (CHAT, {"messages": messages, "max_tokens": tokens, "n": 2, "logprobs": True, "top_logprobs": 3}),
            (CHAT, {"messages": messages, "max_tokens": 48, "response_format": form, "stream": stream}),
            (
                CHAT,
                {"messages": messages, "max_tokens": 48, "tools": [tool("go")], "tool_choice": "required"},
            ),
            (COMPLETIONS, {"prompt": [text(draw, 9), text(draw, 90)], "max_tokens": tokens, "echo": True}),
            (
                COMPLETIONS,
                {"prompt": text(draw, 9), "max_tokens": tokens, "cache_salt": str(draw.random()), "seed": 1},
            ),
            ("/v1/responses", {"input": text(draw, 40), "max_output_tokens": tokens, "stream": stream}),
            ("/v1/messages", {"messages": messages, "max_tokens": tokens, "stream": stream}),
            ("/v1/embeddings", {"input": [text(draw, 20)] * 3}),
            ("/tokenize", {"prompt": text(draw, 300)}),
        ]
    )


def bad(draw: random.Random) -> tuple[str, dict[str, Any]]:
    """A request that must be refused."""
    message = {"role": "user", "content": "x"}
    return draw.choice(
        [
            (CHAT, {"messages": [], "max_tokens": 1}),
            (CHAT, {"messages": [message], "model": text(draw, 3)}),
            (CHAT, {"messages": [message], f"x{draw.random()}": 1, "temperature": 3}),
            (COMPLETIONS, {"prompt": "x " * draw.randint(400, 4000), "max_tokens": 1}),
            (COMPLETIONS, {"prompt": "x", "regex": "(" * draw.randint(1, 2000)}),
            (COMPLETIONS, {"prompt": "x", "guided_json": {"$ref": f"#/{draw.random()}"}}),
            ("/v1/responses", {"input": "x", "previous_response_id": str(draw.random())}),
            (f"/{draw.random()}", {}),
        ]
    )


async def fill(server: Served, count: int) -> None:
    """Fill what is bounded by number: the responses that are kept, the requests that can be explained."""
    left = iter(range(count))

    async def client() -> None:
        for number in left:
            body = {"input": f"{number} is a number", "max_output_tokens": 1}
            await exchange(server.port, "/v1/responses", body)

    await asyncio.gather(*(client() for _ in range(8)))


class Soak:
    """The clients, what they were answered, and the memory of the server meanwhile."""

    def __init__(self, server: Served, minutes: float) -> None:
        self.server = server
        self.start_s = time.monotonic()
        self.seconds = 60 * minutes
        self.statuses: Counter[int] = Counter()
        self.wrong: list[str] = []
        self.memory: list[tuple[float, float]] = []  # share of the time, MiB

    @property
    def share(self) -> float:
        """How much of the time has gone."""
        return (time.monotonic() - self.start_s) / self.seconds

    async def run(self, clients: int) -> None:
        await asyncio.gather(*(self._client(number) for number in range(clients)), self._watch())

    async def _client(self, number: int) -> None:
        draw = random.Random(number)
        expected = json.loads(self.server.words(CHAT, CANARY)) if number == 0 else None
        while self.share < 1:
            if expected is not None:
                answer = json.loads((await exchange(self.server.port, CHAT, CANARY)).body)
                if answer.get("choices") != expected:
                    self.wrong.append(f"canary: {answer}")
            elif draw.random() < 0.15:
                await hang_up(self.server, draw)
            else:
                await self._ask(draw)

    async def _ask(self, draw: random.Random) -> None:
        is_good = draw.random() < 0.8
        path, body = (good if is_good else bad)(draw)
        outcome = await exchange(self.server.port, path, body)
        self.statuses[outcome.status] += 1
        if outcome.status not in ((200,) if is_good else (400, 404)):
            self.wrong.append(f"{path} {str(body)[:200]}: {outcome.status} {outcome.body[:200]!r}")

    async def _watch(self) -> None:
        while self.share < 1:
            self.memory.append((self.share, self.server.resident_mib()))
            await asyncio.sleep(self.seconds / 1000)

    def median_mib(self, part: tuple[float, float]) -> float:
        """Memory in a part of the time."""
        there = [mib for share, mib in self.memory if part[0] <= share < part[1]]
        return statistics.median(there or [self.memory[-1][1]])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--fill", type=int, default=4500, help="short requests before it (default: 4500)")
    parser.add_argument("--warm-up", type=int, default=200, help="requests of all kinds before that")
    parser.add_argument("--growth", type=float, default=MOST_GROWTH, help="that is allowed (default: 0.01)")
    add_arguments(parser)
    args = parser.parse_args()
    with serving("--max-context", "384", "--max-batch", "8", "--kv-memory", "64MiB") as server:
        asyncio.run(all_of_them(server, args.warm_up, 16))
        asyncio.run(fill(server, args.fill))
        soak = Soak(server, args.minutes)
        descriptors = server.num_descriptors()
        asyncio.run(soak.run(args.clients))
        wait_until_idle(server)
        settled, last = soak.median_mib(SETTLED), soak.median_mib(LAST)
        growth = last / settled - 1
        row: Row = {
            "minutes": args.minutes,
            "requests": int(server.gauges()["requests_arrived_total"]),
            "served": soak.statuses[200],
            "refused": soak.statuses[400] + soak.statuses[404],
            "wrong": len(soak.wrong),
            "settled_mib": round(settled, 1),
            "last_mib": round(last, 1),
            "growth": f"{growth:+.2%}",
            "descriptors": f"{descriptors} -> {server.num_descriptors()}",
        }
    tenths: list[Row] = [
        {"share of the time": f"{tenth / 10:.1f}", "memory_mib": round(soak.median_mib(part), 1)}
        for tenth in range(10)
        for part in [(tenth / 10, tenth / 10 + 0.1)]
    ]
    report(args, "Everything at once, for a long time", {"Soak": [row], "Memory": tenths})
    for what in soak.wrong[:20]:
        sys.stdout.write(f"wrong: {what}\n")
    return 1 if soak.wrong or growth > args.growth else 0


if __name__ == "__main__":
    sys.exit(main())
