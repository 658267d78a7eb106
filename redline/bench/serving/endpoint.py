"""Endpoint: where an OpenAI-compatible server is, and the bytes that ask it something."""

from __future__ import annotations

import json
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import urlsplit

from redline.bench.workloads import Request
from redline.errors import ConfigError

Api = Literal["chat", "completions"]
PATHS = {"chat": "/v1/chat/completions", "completions": "/v1/completions"}


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """One server and one model of it. `extra_body`: further members of every request; null takes one out.

    A key is sent as bearer token, and is no part of any report. Raises ConfigError.
    """

    base_url: str
    model: str
    api: Api = "chat"
    api_key: str | None = field(default=None, repr=False)
    ignore_eos: bool = False
    temperature: float = 0.0
    extra_body: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.api_key is not None and not (self.api_key.isascii() and self.api_key.isprintable()):
            raise ConfigError("the API key has characters that no HTTP header can hold")
        _ = self.address

    @property
    def address(self) -> tuple[str, int]:
        """Host and port. Raises ConfigError."""
        try:
            parts = urlsplit(self.base_url)
            host, port = parts.hostname, parts.port
        except ValueError as error:
            raise ConfigError(f"base_url is {self.base_url!r}: {error}") from None
        if parts.scheme not in ("http", "https") or not host or parts.query or not self.base_url.isascii():
            raise ConfigError(
                f"base_url is {self.base_url!r}; it must be as http://127.0.0.1:8000 or https://host/v1"
            )
        return host, port or (443 if parts.scheme == "https" else 80)

    @property
    def tls(self) -> ssl.SSLContext | None:
        """For https; certificates are checked."""
        return ssl.create_default_context() if self.base_url.startswith("https:") else None

    def body(self, request: Request) -> dict[str, Any]:
        """The JSON of one request."""
        asked: dict[str, Any] = {"model": self.model}
        if self.api == "chat":
            asked["messages"] = list(request.messages)
        else:
            asked["prompt"] = request.prompt
        asked |= {"max_tokens": request.output_tokens, "temperature": self.temperature, "stream": True}
        asked["stream_options"] = {"include_usage": True}
        if self.ignore_eos:
            asked["ignore_eos"] = True
        return {name: value for name, value in {**asked, **self.extra_body}.items() if value is not None}

    def post(self, request: Request) -> bytes:
        """The whole HTTP request for a streamed answer."""
        content = json.dumps(self.body(request), separators=(",", ":")).encode()
        lines = ["content-type: application/json", f"content-length: {len(content)}"]
        return self._head("POST", PATHS[self.api], [*lines, "accept: text/event-stream"]) + content

    def get_models(self) -> bytes:
        """The whole HTTP request for the list of models."""
        return self._head("GET", "/v1/models", ["accept: application/json"])

    def _head(self, method: str, path: str, lines: Sequence[str]) -> bytes:
        parts = urlsplit(self.base_url)
        prefix = parts.path.rstrip("/").removesuffix("/v1")
        host = parts.netloc.rpartition("@")[2]
        key = [] if self.api_key is None else [f"authorization: Bearer {self.api_key}"]
        head = [
            f"{method} {prefix}{path} HTTP/1.1",
            f"host: {host}",
            "user-agent: redline-bench",
            *key,
            *lines,
        ]
        return "\r\n".join([*head, "", ""]).encode("latin-1")
