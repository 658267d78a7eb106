"""A worker's side of the pipe. Runs in the Python of an engine's own environment: standard library only.

A worker is started with one argument, a JSON object:

    model, threads        what to open, and how many threads may compute
    max_sequences         most answers that will be wanted at once
    max_tokens            longest prompt and answer together
    prefix_caching        keep what prompts of a batch begin with in common
    twins                 directory for the same model in other formats
    prompt                if there: write the answer's text to stdout as it comes, and end (first_token)
    twin                  if there: {"path", "type"}: write the model in another format there, and end

Then it speaks JSON, one line each way. Its first line says what was opened:

    {"vocab_size": 49152, "launch": "how the engine was started"}     or     {"error": "why not"}

Each request is a batch of prompts given to the engine at once, with the number of tokens wanted of each:

    {"prompts": [[1, 2, 3], ...], "output_tokens": [64, ...], "tune": false}

and is answered by a Timeline. With `tune`, an engine with settings of its own tries them on this batch, which
is not timed, and keeps the fastest for batches of this shape.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterable
from typing import Any


class Timeline:
    """When which tokens came. Times are seconds since the prompts were given to the engine."""

    def __init__(self, num_requests: int) -> None:
        self.ids: list[list[int]] = [[] for _ in range(num_requests)]
        self.first_s: list[float] = [0.0] * num_requests
        self.events: list[tuple[float, int]] = []  # (time, tokens that came)
        self.start_s = time.perf_counter()

    def add(self, tokens: Iterable[tuple[int, int]]) -> None:
        """(request, token id) of every token that came since the last call."""
        now_s = time.perf_counter() - self.start_s
        count = 0
        for request, token in tokens:
            if not self.ids[request]:
                self.first_s[request] = now_s
            self.ids[request].append(token)
            count += 1
        if count:
            self.events.append((now_s, count))

    def as_dict(self) -> dict[str, Any]:
        """What the parent is sent."""
        return {"first_s": self.first_s, "events": self.events, "ids": self.ids}


def main(
    open_engine: Callable[[dict[str, Any]], Any],
    write_text: Callable[[dict[str, Any], Any], None],
    write_twin: Callable[[dict[str, Any]], None] | None = None,
) -> None:
    """Serve until stdin ends.

    open_engine(options) -> an object with vocab_size, launch, and
    generate(prompts, output_tokens, tune) -> Timeline.
    write_text(options, file): the text of an answer, flushed piece by piece.
    """
    options = json.loads(sys.argv[1])
    # Whatever a library prints must not mix with the answers.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    if "prompt" in options:
        write_text(options, answers)
    elif "twin" in options:
        assert write_twin is not None
        write_twin(options)
    else:
        _serve(open_engine, options, answers)
    answers.flush()
    os._exit(0)  # some engines take long to leave, or crash while they do; nothing of them is needed any more


def _serve(open_engine: Callable[[dict[str, Any]], Any], options: dict[str, Any], answers: Any) -> None:
    def say(answer: dict[str, Any]) -> None:
        answers.write(json.dumps(answer) + "\n")
        answers.flush()

    try:
        engine = open_engine(options)
    except Exception as error:  # noqa: BLE001  whatever it is, the parent is told
        return say({"error": f"{type(error).__name__}: {error}"})
    say({"vocab_size": engine.vocab_size, "launch": engine.launch, **getattr(engine, "facts", {})})
    for line in sys.stdin:
        request = json.loads(line)
        try:
            timeline = engine.generate(request["prompts"], request["output_tokens"], request["tune"])
            say({**timeline.as_dict(), "launch": engine.launch})
        except Exception as error:  # noqa: BLE001  whatever it is, the parent is told
            say({"error": f"{type(error).__name__}: {error}"})
    return None
