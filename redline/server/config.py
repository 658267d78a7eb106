"""ServerConfig: where the server listens and what it refuses."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field, fields

from redline.errors import ConfigError
from redline.parsing.choose import REASONING_CHOICES, TOOL_CHOICES, check_parser
from redline.server.hosts import is_host

MAX_PORT = 65535
OFF_BY_NONE = {"max_queued_tokens", "request_timeout_s", "queue_timeout_s", "step_timeout_s", "self_check_s"}

# What a browser sends as Origin: no path, not even a slash at the end.
_ORIGIN = re.compile(r"\*|[a-z][a-z0-9+.-]*://[^/\s?#@]+", re.ASCII)


@dataclass(frozen=True, kw_only=True, slots=True)
class ServerConfig:
    """Who may use one HTTP server, and its limits. Sizes in bytes, times in seconds; None switches off.

    Raises ConfigError when a value is out of range.
    """

    host: str = "127.0.0.1"
    port: int = 8000  # 0: a free port
    aliases: tuple[str, ...] = ()  # names the model answers to besides its own
    tool_call_parser: str = "auto"  # how calls of tools are found in answers: TOOL_CHOICES
    reasoning_parser: str = "auto"  # the same for reasoning: REASONING_CHOICES
    page: bool = True  # whether GET / is the built-in page
    tokenizer_info: bool = False  # whether GET /tokenizer_info tells the chat template
    max_waiting: int = 256  # prompts without a first token; the next one gets 429
    max_queued_tokens: int | None = None  # of those prompts; beyond it the next one gets 429
    max_choices: int = 128  # prompts times n, or beams, of one request
    max_body_bytes: int = 4 * 2**20
    max_connections: int = 16_384  # or what the limit of open files leaves, if that is less
    max_header_bytes: int = 32 * 2**10
    max_headers: int = 100
    header_timeout_s: float = 10.0
    body_timeout_s: float = 30.0
    send_timeout_s: float = 60.0  # that a client may take nothing of its answer
    keep_alive_s: float = 60.0
    request_timeout_s: float | None = None  # of a whole answer
    queue_timeout_s: float | None = None  # to the first token
    step_timeout_s: float | None = 120.0  # an engine that ends no step for longer counts as stuck
    self_check_s: float | None = 300.0  # between two checks of bits that GET /health?deep=1 asks for
    drain_timeout_s: float = 30.0
    api_keys: tuple[str, ...] = field(default=(), repr=False)  # none, and no file: everyone may come in
    api_keys_file: str | None = None
    public_metrics: bool = False  # /metrics needs no key
    share_cache_between_keys: bool = False
    cors_origins: tuple[str, ...] = ()  # web pages that may call; ("*",): all
    allowed_hosts: tuple[str, ...] = ()  # that Host may name besides this machine; none: see origin_guard.py
    otlp_traces_endpoint: str | None = None  # URL of a collector; None: what the OTEL_ variables say
    tls_cert: str | None = None  # PEM file of the certificate chain
    tls_key: str | None = None  # of its key, which may also be in the same file

    def __post_init__(self) -> None:
        for each in fields(self):
            value = getattr(self, each.name)
            if value is None and each.name in OFF_BY_NONE:
                continue
            if each.name.startswith("max_") and (not _is_integer(value) or value < 1):
                raise ConfigError(f"{each.name} is {value!r}; it must be an integer of at least 1")
            if each.name.endswith("_s") and not _is_duration(value):
                raise ConfigError(f"{each.name} is {value!r}; it must be a number of seconds, at least 0")
        if not _is_integer(self.port) or not 0 <= self.port <= MAX_PORT:
            raise ConfigError(f"port is {self.port!r}; it must be an integer between 0 and {MAX_PORT}")
        check_parser("tool_call_parser", self.tool_call_parser, TOOL_CHOICES)
        check_parser("reasoning_parser", self.reasoning_parser, REASONING_CHOICES)
        for origin in self.cors_origins:
            if not _ORIGIN.fullmatch(origin):
                raise ConfigError(
                    f"cors_origins has {origin!r}; it must be as browsers send it, such as "
                    "https://chat.example.com:8443, without a path, or *"
                )
        for host in self.allowed_hosts:
            if not is_host(host):
                raise ConfigError(
                    f"allowed_hosts has {host!r}; it must be a name or an address, such as llm.example.com, "
                    "without scheme and port"
                )
        if self.tls_key is not None and self.tls_cert is None:
            raise ConfigError(
                "tls_key is given without tls_cert; give both, or one file with both as tls_cert"
            )


def _is_integer(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_duration(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < math.inf
