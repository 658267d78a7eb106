"""Answer: what came back for one request, event by event, and when."""

from __future__ import annotations

import json
from array import array
from dataclasses import dataclass
from typing import Any

from redline.bench.serving.failure import (
    BAD_EVENT,
    CLOSED_EARLY,
    EMPTY,
    ERROR_EVENT,
    NOT_STREAMED,
    Failed,
    http_kind,
)
from redline.bench.serving.http_reader import HttpReader
from redline.protocol.sse import DONE, SSEDecoder

MAX_ERROR_BODY = 4096
TEXTS = ("content", "reasoning_content", "reasoning", "text")


@dataclass(frozen=True, slots=True)
class ReportedUsage:
    """Tokens as the server counts them."""

    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int | None = None


class Answer:
    """Reads the bytes of one streamed answer. Times are seconds of perf_counter."""

    def __init__(self) -> None:
        self.chunk_s = array("d")  # when each chunk with text, or part of a tool call, came
        self.text: list[str] = []
        self.usage: ReportedUsage | None = None
        self.finish_reason: str | None = None
        self.max_lag_s = 0.0
        self.num_merged = 0  # chunks that came in one read with the one before, so that they have its time
        self.num_undated = 0  # reads that the kernel did not date
        self.http = HttpReader()
        self._events = SSEDecoder()
        self._error = bytearray()
        self._streamed = False
        self._done = False

    def feed(self, data: bytes, at_s: float, lag_s: float | None) -> None:
        """Raises Failed for what is no answer."""
        if lag_s is None:
            self.num_undated += 1
        else:
            self.max_lag_s = max(self.max_lag_s, lag_s)
        headed = self.http.headed
        body = self.http.feed(data)
        if not headed and self.http.headed:
            self._streamed = self._agreed()
        if not self._streamed:
            self._error += body[: MAX_ERROR_BODY - len(self._error)]
            return
        try:
            events = self._events.feed(body)
        except ValueError as error:
            raise Failed(BAD_EVENT, str(error)) from None
        before = len(self.chunk_s)
        for event in events:
            self._event(event, at_s)
        self.num_merged += max(0, len(self.chunk_s) - before - 1)

    def check(self) -> None:
        """It has ended. Raises Failed unless it is whole and says something."""
        if self.http.status != 200:
            raise Failed(
                http_kind(self.http.status), self._said(), _seconds(self.http.headers.get("retry-after"))
            )
        if not self._streamed:
            raise Failed(NOT_STREAMED, self._said())
        if not self._done and self.finish_reason is None:
            raise Failed(CLOSED_EARLY, f"after {len(self.chunk_s)} chunks")
        if not self.chunk_s:
            raise Failed(EMPTY)

    def _agreed(self) -> bool:
        kind = self.http.headers.get("content-type", "")
        return self.http.status == 200 and "text/event-stream" in kind

    def _event(self, event: str, at_s: float) -> None:
        if self._done:
            return
        if event == DONE:
            self._done = True
            return
        try:
            chunk = json.loads(event)
            if "error" in chunk:
                raise Failed(ERROR_EVENT, _message(chunk["error"]))
            self._chunk(chunk, at_s)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            raise Failed(BAD_EVENT, event) from None

    def _chunk(self, chunk: dict[str, Any], at_s: float) -> None:
        """One choice is asked for, so one is read."""
        for choice in chunk.get("choices", ())[:1]:
            part = choice.get("delta", choice)
            text = "".join(part.get(name) or "" for name in TEXTS)
            if text or part.get("tool_calls"):
                self.chunk_s.append(at_s)
                self.text.append(text)
            self.finish_reason = choice.get("finish_reason") or self.finish_reason
        if chunk.get("usage"):
            self.usage = _usage(chunk["usage"])

    def _said(self) -> str:
        text = self._error.decode("utf-8", errors="replace")
        try:
            return _message(json.loads(text)["error"])
        except (ValueError, KeyError, TypeError, RecursionError):
            return text


def _usage(said: dict[str, Any]) -> ReportedUsage:
    prompt, completion = said.get("prompt_tokens", 0), said.get("completion_tokens", 0)
    cached = (said.get("prompt_tokens_details") or {}).get("cached_tokens")
    if type(prompt) is not int or type(completion) is not int or type(cached) not in (int, type(None)):
        raise TypeError(said)
    return ReportedUsage(prompt, completion, cached)


def _message(error: Any) -> str:
    return str(error.get("message", error)) if isinstance(error, dict) else str(error)


def _seconds(value: str | None) -> float | None:
    """Of Retry-After; a date instead of seconds is not understood, and then nobody waits."""
    return float(value) if value is not None and value.isdecimal() and len(value) < 6 else None
