"""What schemathesis does to each request and asks of each answer; benchmarks/fuzz_server.py runs it.

The values that lead past the first check (a model that exists, few tokens) are put in most of the time, so
that many requests get as far as the engine. After every few requests a canary must be answered as before.
"""

from __future__ import annotations

import atexit
import itertools
import json
import os
import random
import re
import threading
from collections import Counter
from pathlib import Path

import schemathesis
from schemathesis import GenerationMode
from served import CHAT, MODEL, Served

SERVER = Served(os.environ["FUZZ_URL"])
EVERY = int(os.environ["FUZZ_CANARY_EVERY"])
CANARY = {
    "model": MODEL,
    "messages": [{"role": "user", "content": "Name a colour."}],
    "max_tokens": 6,
    "temperature": 0,
}
EXPECTED = SERVER.words(CHAT, CANARY)
FEW_TOKENS = ("max_tokens", "max_completion_tokens", "max_output_tokens")
# Addresses, files, tracebacks, and types of Python have no place in an answer.
LEAK = re.compile(rb"0x[0-9a-f]{6,}|Traceback|/site-packages/|\.py\b|/home/|/root/|<class '|object at ")

draw = random.Random(1)
lock = threading.Lock()
numbers = itertools.count(1)
statuses: Counter[str] = Counter()
slowest = {"s": 0.0, "what": ""}


@schemathesis.hook
def before_call(context, case, **kwargs):
    """Let most bodies through to the engine, and let none of them run for long."""
    body = case.body
    if not isinstance(body, dict) or draw.random() < 0.1:
        return
    if isinstance(body.get("model"), str) and body["model"]:
        body["model"] = MODEL
    for name in FEW_TOKENS:
        if type(body.get(name)) is int and 8 < body[name] < 2**31:
            body[name] = 1 + body[name] % 8
    if case.meta.generation.mode is GenerationMode.POSITIVE:
        _simplify(body, case.operation)


def _simplify(body, operation):
    """Nearly all of ninety optional fields together contradict each other somewhere; keep a few."""
    schema = operation.body[0].definition["schema"]
    text = json.dumps(schema) + json.dumps(operation.schema.raw_schema["components"]["schemas"])
    required = {"model", "messages", "prompt", "input", "tokens", "content", "inputs", "max_tokens"}
    optional = sorted(body.keys() - required)
    for name in draw.sample(optional, max(0, len(optional) - draw.randrange(5))):
        del body[name]
    if "logprobs" not in body:
        body.pop("top_logprobs", None)
    if not body.get("stream"):
        body.pop("stream_options", None)
    if not isinstance(body.get("max_tokens"), int) and "max_tokens" in text and "input" not in body:
        body["max_tokens"] = 4


@schemathesis.check
def harms_nobody(ctx, response, case):
    """No failure of the server, nothing of its inside, and the canary sings."""
    with lock:
        number = next(numbers)
        statuses[f"{case.path} {response.status_code}"] += 1
        if response.elapsed > slowest["s"]:
            slowest.update(s=response.elapsed, what=f"{case.method} {case.path} {str(case.body)[:300]}")
    assert response.status_code < 500, f"{response.status_code}: {response.content[:300]!r}"
    if response.status_code >= 400:
        told = response.content.replace(json.dumps(str(case.body)).encode(), b"")
        assert len(told) < 2000 and not LEAK.search(told), f"it says too much: {told[:500]!r}"
    if number % EVERY == 0:
        heard = SERVER.words(CHAT, CANARY)
        assert heard == EXPECTED, f"the canary says {heard}, and said {EXPECTED}"
        with lock:
            statuses["canary"] += 1


@atexit.register
def tell():
    told = {"canaries": statuses.pop("canary", 0), "statuses": statuses, "slowest": slowest}
    Path(os.environ["FUZZ_REPORT"]).write_text(json.dumps(told))
