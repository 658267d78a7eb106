"""Batch files, and batches run over the fake engine."""

from __future__ import annotations

import asyncio
import json
from contextlib import closing
from pathlib import Path
from typing import Any

from redline.batch.results import ResultFile
from redline.batch.run import Summary, run
from redline.server.app import build_app
from redline.server.config import ServerConfig
from tests.server.fake_engine import FakeEngine

CHAT = "/v1/chat/completions"


def line(custom_id: str, body: dict[str, Any], url: str = CHAT, method: str = "POST") -> str:
    return json.dumps({"custom_id": custom_id, "method": method, "url": url, "body": body})


def question(number: int, **fields: Any) -> str:
    messages = [{"role": "user", "content": f"question {number}"}]
    return line(f"q{number}", {"model": "fake-model", "messages": messages, "max_tokens": 7, **fields})


def write(path: Path, lines: list[str | bytes]) -> Path:
    path.write_bytes(b"".join((each if isinstance(each, bytes) else each.encode()) + b"\n" for each in lines))
    return path


def answer_all(
    source: Path, output: Path, engine: FakeEngine | None = None, retry_errors: bool = False, at_once: int = 4
) -> Summary:
    app = build_app(engine or FakeEngine(), ServerConfig(max_waiting=10**6))
    with source.open("rb") as file, closing(ResultFile(output, retry_errors=retry_errors)) as results:
        return asyncio.run(run(app, file, results, max_concurrency=at_once))


def results_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(each) for each in path.read_text().splitlines()]


def essence(path: Path) -> dict[str, Any]:
    """What does not differ from run to run, by custom_id; asserts that nothing is there twice."""
    found = {}
    for result in results_of(path):
        key = result["custom_id"] if result["error"] is None else f"line {result['error']['line']}"
        assert key not in found, f"{key} is there twice"
        body = result["response"] and result["response"]["body"]
        if body and "choices" in body:
            body = [choice.get("message", choice) for choice in body["choices"]]
        found[key] = result["error"] or (result["response"]["status_code"], body)
    return found
