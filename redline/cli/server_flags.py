"""The flags of the HTTP server. Each is a field of ServerConfig, which checks the values."""

from __future__ import annotations

import argparse
from typing import Any

from redline import env
from redline.cli.engine_flags import DEFAULT_MODEL
from redline.parsing.choose import REASONING_CHOICES, TOOL_CHOICES
from redline.server.config import ServerConfig

HOST, PORT = "127.0.0.1", 8000
STEP_TIMEOUT_S, WHOLE_PROMPT_STEP_TIMEOUT_S = 120.0, 1200.0

# flag -> field, placeholder, help. Flags that are not given leave the default of ServerConfig.
FILES = {
    "--api-keys-file": (
        "api_keys_file",
        "FILE",
        "one key a line, or JSON, with limits for each; read again when it changes, or on SIGHUP",
    ),
    "--tls-cert": ("tls_cert", "FILE", "PEM file of the certificate chain; read again on SIGHUP"),
    "--tls-key": ("tls_key", "FILE", "PEM file of its key, if that is another"),
}
TEXTS = {
    "--otlp-traces-endpoint": (
        "otlp_traces_endpoint",
        "URL",
        "send a trace of each request to this OpenTelemetry collector, such as "
        "http://127.0.0.1:4318/v1/traces; needs redline[otel] (default: as OTEL_EXPORTER_OTLP_ENDPOINT says)",
    ),
}
REPEATABLE = {
    "--api-key": (
        "api_keys",
        "KEY",
        "accept this key; may be repeated. Other users of this machine see it in the list of processes: "
        "prefer REDLINE_API_KEY or --api-keys-file",
    ),
    "--cors-origin": (
        "cors_origins",
        "ORIGIN",
        "let pages of this origin call from a browser, such as https://chat.example.com; may be repeated; "
        "*: all pages (default: none)",
    ),
    "--allowed-host": (
        "allowed_hosts",
        "NAME",
        "answer requests that call the server by this name, as those through a reverse proxy may; may be "
        "repeated (default: on a loopback address without keys names of this machine alone, else any)",
    ),
}
SWITCHES = {
    "--public-metrics": ("public_metrics", "/metrics needs no key"),
    "--share-cache-between-keys": (
        "share_cache_between_keys",
        "prompts cached for one key serve the others; answering times then tell what others have asked",
    ),
    "--tokenizer-info": (
        "tokenizer_info",
        "answer GET /tokenizer_info, which tells the chat template (lm-eval asks for it)",
    ),
}
OFF_SWITCHES = {"--no-page": ("page", "no page at / to chat and to look at the engine with")}
INTEGERS = {
    "--max-queue": ("max_waiting", "prompts without a first token; the next one gets 429 (default: 256)"),
    "--max-queued-tokens": ("max_queued_tokens", "tokens of those prompts (default: no limit)"),
}
PARSERS = {
    "--tool-call-parser": ("tool_call_parser", TOOL_CHOICES, "format of calls in answers"),
    "--reasoning-parser": ("reasoning_parser", REASONING_CHOICES, "format of reasoning in answers"),
}
SECONDS = {
    "--request-timeout": ("request_timeout_s", "for a whole answer, then 504 (default: no limit)"),
    "--queue-timeout": ("queue_timeout_s", "to the first token, then 504 (default: no limit)"),
    "--step-timeout": (
        "step_timeout_s",
        "an engine that ends no step for longer fails /health; none: never "
        f"(default: {STEP_TIMEOUT_S:g}, with --chunked-prefill none {WHOLE_PROMPT_STEP_TIMEOUT_S:g})",
    ),
    "--self-check": (
        "self_check_s",
        "at least between two checks of bits that GET /health?deep=1 starts; none: refuse it (default: 300)",
    ),
    "--drain-timeout": (
        "drain_timeout_s",
        "that running requests have after SIGTERM or SIGINT (default: 30)",
    ),
}


def add_server_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags of the server."""
    group = parser.add_argument_group("server")
    group.add_argument("--host", default=HOST, help=f"address to listen on (default: {HOST}: this machine)")
    group.add_argument("--port", type=int, default=PORT, metavar="N", help=f"0: a free one (default: {PORT})")
    for flag, (field, metavar, text) in (FILES | TEXTS).items():
        group.add_argument(flag, dest=field, metavar=metavar, default=argparse.SUPPRESS, help=text)
    for flag, (field, metavar, text) in REPEATABLE.items():
        group.add_argument(
            flag, dest=field, metavar=metavar, action="append", default=argparse.SUPPRESS, help=text
        )
    for flag, (field, text) in SWITCHES.items():
        group.add_argument(flag, dest=field, action="store_true", default=argparse.SUPPRESS, help=text)
    for flag, (field, text) in OFF_SWITCHES.items():
        group.add_argument(flag, dest=field, action="store_false", default=argparse.SUPPRESS, help=text)
    for flag, (field, choices, text) in PARSERS.items():
        help_text = f"{text} (default: auto, the one in the chat template)"
        group.add_argument(flag, dest=field, choices=choices, default=argparse.SUPPRESS, help=help_text)
    for flag, (field, text) in INTEGERS.items():
        dest = f"server_{field}"  # --max-waiting, of the engine, is another
        group.add_argument(flag, dest=dest, type=int, metavar="N", default=argparse.SUPPRESS, help=text)
    for flag, (field, text) in SECONDS.items():
        group.add_argument(
            flag,
            dest=field,
            type=seconds_or_none,
            metavar="S",
            default=argparse.SUPPRESS,
            help=f"seconds {text}",
        )


def server_config(args: argparse.Namespace) -> ServerConfig:
    """What the flags say, and the key in the environment where no flag gives one. Raises ConfigError.

    The server answers to the name on the command line besides the model's own.
    """
    given = vars(args)
    tables = (FILES, TEXTS, REPEATABLE, SWITCHES, OFF_SWITCHES, PARSERS, SECONDS)
    settings: dict[str, Any] = {
        row[0]: given[row[0]] for table in tables for row in table.values() if row[0] in given
    }
    settings |= {
        field: given[f"server_{field}"] for field, _ in INTEGERS.values() if f"server_{field}" in given
    }
    for field in ("api_keys", "cors_origins", "allowed_hosts"):
        settings[field] = tuple(settings.get(field, ()))
    settings["api_keys"] = settings["api_keys"] or env.api_keys()
    if "max_waiting" in given:
        settings.setdefault("max_waiting", args.max_waiting)
    settings.setdefault("step_timeout_s", _step_timeout_s(args))
    return ServerConfig(host=args.host, port=args.port, aliases=(args.model or DEFAULT_MODEL,), **settings)


def _step_timeout_s(args: argparse.Namespace) -> float:
    """A step that computes a whole long prompt takes its time and is not stuck."""
    whole_prompts = getattr(args, "chunked_prefill", 1) is None
    return WHOLE_PROMPT_STEP_TIMEOUT_S if whole_prompts else STEP_TIMEOUT_S


def seconds_or_none(text: str) -> float | None:
    try:
        return None if text == "none" else float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r:.40} is neither a number of seconds nor none") from None
