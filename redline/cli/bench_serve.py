"""redline bench serve: a load of requests against a server, this one or any other with the OpenAI API."""

from __future__ import annotations

import argparse
import contextlib
import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from redline import env
from redline.cli import exit_codes
from redline.cli.bench_against import write_json
from redline.cli.engine_flags import DEFAULT_MODEL, add_engine_flags, engine_argv, engine_options
from redline.cli.loading import check_engine_flags, fetch
from redline.cli.terminal import progress_bar
from redline.errors import ConfigError

if TYPE_CHECKING:
    from redline.bench.serving.arrivals import Arrivals
    from redline.bench.serving.bench import ServePlan, Subject
    from redline.bench.serving.served import Count
    from redline.bench.serving.slo import Slo
    from redline.bench.traces.trace import Trace
    from redline.bench.workloads import Workload
    from redline.models.tokenizer import Tokenizer

EXIT_FAILED = 1  # no request was answered
KEY_VARIABLE = "OPENAI_API_KEY"
DEFAULT_CONCURRENCY = 8
# Flags of one kind of arrivals, with the one that they need.
NEEDS = {"burstiness": "rate", "trace_speed": "trace", "skip_bad_lines": "trace"}
INTEGERS = {
    "requests": "of each run (default: of the workload, 48 or 64; of a trace: all)",
    "concurrency": f"users who each wait for their answer (default: {DEFAULT_CONCURRENCY})",
    "server_pid": "process of the server, whose processor time is measured (default: of the own server)",
}
NUMBERS = {
    "rate": ("X", "sessions that start per second, at random times (Poisson), instead of users who wait"),
    "burstiness": (
        "X",
        "of --rate: shape of the gamma distribution between them, below 1: bursts (default: 1)",
    ),
    "trace_speed": ("X", "of --trace: so many times as fast (default: 1)"),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--base-url", metavar="URL", help="a server that runs (default: start one with the engine's flags)")
    add("--against", action="append", metavar="URL", default=[], help="one to take turns; may be repeated")
    add("--api", choices=("chat", "completions"), default="chat", help="default: chat")
    key = f"variable that holds the key for --base-url and --against (default: {KEY_VARIABLE})"
    add("--api-key-env", metavar="NAME", default=KEY_VARIABLE, help=key)
    workloads = "chat, summarise, code, shared-prefix, agent, long-document or mix (default: chat)"
    add("--workload", metavar="NAME", help=workloads)
    add("--trace", nargs=2, metavar=("KIND", "FILE"), help="replay requests instead: azure or mooncake")
    add("--skip-bad-lines", action="store_true", default=argparse.SUPPRESS, help="of --trace, and count them")
    for name, (metavar, text) in NUMBERS.items():
        add(_flag(name), type=float, metavar=metavar, default=argparse.SUPPRESS, help=text)
    for name, text in INTEGERS.items():
        add(_flag(name), type=int, metavar="N", default=argparse.SUPPRESS, help=text)
    add("--scale", type=float, default=1.0, metavar="X", help="multiply the lengths (default: 1)")
    add("--slo", metavar="NAME=S,...", help="limits for goodput, as ttft=0.5,tpot=0.05 (also tbt, e2e)")
    add("--repeats", type=int, default=5, metavar="N", help="default: 5, after a warm-up")
    add("--seed", type=int, default=0, metavar="N", help="of texts, lengths and arrivals (default: 0)")
    tokens = "count and cut texts by its tokens (default: the own server's; else four characters a token)"
    add("--tokenizer", metavar="MODEL", help=tokens)
    full = "ask for answers of full length (default: of the own server)"
    add("--ignore-eos", action=argparse.BooleanOptionalAction, help=full)
    add(
        "--extra-body", metavar="JSON", help='members of every request, as {"top_p": 0.9}; null takes one out'
    )
    add("--stall-timeout", type=float, default=120.0, metavar="S", help="without a token (default: 120)")
    add("--request-timeout", type=float, default=600.0, metavar="S", help="for an answer (default: 600)")
    add_output_flags(parser)
    add_engine_flags(parser)
    parser.set_defaults(model=None)


def add_output_flags(parser: argparse.ArgumentParser) -> None:
    """Where a report goes."""
    add = parser.add_argument
    add("--json", nargs="?", const="-", metavar="FILE", help="write one JSON object to FILE, or print it")
    add("--html", type=Path, metavar="FILE", help="write a page with plots there")


def run(args: argparse.Namespace) -> int:
    """Measure, print, write. Returns 1 when no request was answered, 130 after Ctrl-C."""
    _refuse(args)
    import asyncio

    from redline.bench.results.document import load_average

    load_before = load_average()
    slo, tokenizer = _slo(args), _tokenizer(args)
    plan = _plan(args, tokenizer)
    with _subjects(args, plan) as subjects:
        from redline.bench.serving.bench import bench_serve

        with progress_bar("measuring", "requests") as progress:
            interrupted = asyncio.run(bench_serve(subjects, plan, progress))
    # Tokens behind the end of an answer may have no text, so they cannot be counted there.
    full = args.ignore_eos is not False if args.base_url is None else args.ignore_eos
    count = None if tokenizer is None or full else _counter(tokenizer)
    report = _report(args, plan, subjects, slo, count)
    report |= {"interrupted": interrupted, **_circumstances(args, load_before)}
    write_report(args, report)
    if interrupted:
        return exit_codes.INTERRUPTED
    return 0 if all(subject["num_done"] for subject in report["subjects"]) else EXIT_FAILED


def write_report(args: argparse.Namespace, report: dict[str, Any]) -> None:
    """To the terminal, and to the files that were asked for."""
    from redline.bench.results.html import as_html
    from redline.bench.results.terminal import as_text

    if args.html is not None:
        args.html.write_text(as_html(report), encoding="utf-8")
    write_json(report, args.json, as_text(report))


def check_files(*paths: Path | str | None) -> None:
    """Raises ConfigError where a file cannot be written."""
    for path in paths:
        if path not in (None, "-") and not Path(str(path)).parent.is_dir():
            raise ConfigError(f"{path} cannot be written: there is no directory {Path(str(path)).parent}")


def _refuse(args: argparse.Namespace) -> None:
    """Flags without effect, or out of range. Raises ConfigError."""
    check_files(args.json, args.html)
    if args.repeats < 1:
        raise ConfigError(f"--repeats is {args.repeats}; it must be at least 1")
    for name, needed in NEEDS.items():
        if hasattr(args, name) and getattr(args, needed, None) is None:
            raise ConfigError(f"{_flag(name)} has no effect without {_flag(needed)}")
    ways = [name for name in ("concurrency", "rate", "trace") if getattr(args, name, None) is not None]
    if len(ways) > 1:
        raise ConfigError(f"{_flag(ways[0])} and {_flag(ways[1])} both say when requests come; give one")
    if args.trace is not None and args.workload is not None:
        raise ConfigError("--workload and --trace both say what is asked; give one")
    for name in ("stall_timeout", "request_timeout"):
        if not 0 < getattr(args, name) < float("inf"):
            raise ConfigError(f"{_flag(name)} is {getattr(args, name):g}; it must be seconds, above 0")
    if args.base_url is None:
        check_engine_flags(argparse.Namespace(**{**vars(args), "model": args.model or DEFAULT_MODEL}))
        return
    for name in engine_options(args):
        if name != "max_context":
            raise ConfigError(f"{_flag(name)} has no effect on the server at --base-url")


def _slo(args: argparse.Namespace) -> Slo | None:
    from redline.bench.serving.slo import Slo

    return Slo.parse(args.slo)


def _tokenizer(args: argparse.Namespace) -> Tokenizer | None:
    model = args.tokenizer or (None if args.base_url else args.model or DEFAULT_MODEL)
    if model is None:
        return None
    from redline.models.load import open_files

    return open_files(fetch(model)).tokenizer


def _counter(tokenizer: Tokenizer) -> Count:
    return lambda text: len(tokenizer.encode(text, add_special_tokens=False))


def _plan(args: argparse.Namespace, tokenizer: Tokenizer | None) -> ServePlan:
    from redline.bench.serving.bench import ServePlan
    from redline.bench.serving.call import Timeouts

    workload = _workloads(args, tokenizer)
    arrivals = _arrivals(args, workload(0))
    return ServePlan(
        workload=workload,
        arrivals=arrivals,
        timeouts=Timeouts(stall_s=args.stall_timeout, request_s=args.request_timeout),
        repeats=args.repeats,
        warm_up=min(4, getattr(args, "concurrency", 4)),
    )


def _workloads(args: argparse.Namespace, tokenizer: Tokenizer | None) -> Callable[[int], Workload]:
    """By repeat."""
    from redline.bench.traces.replay import replay
    from redline.bench.workloads import build

    options = {"scale": args.scale, "max_tokens": getattr(args, "max_context", None)}
    if args.trace is None:
        name, requests = args.workload or "chat", getattr(args, "requests", None)
        return cache(
            lambda repeat: build(name, tokenizer, args.seed, num_requests=requests, repeat=repeat, **options)
        )
    trace = _trace(args)
    return cache(lambda repeat: replay(trace, tokenizer, args.seed, repeat=repeat, **options))


def _trace(args: argparse.Namespace) -> Trace:
    from redline.bench.traces.trace import read_trace

    most = getattr(args, "requests", None)
    if most is not None and most < 1:
        raise ConfigError(f"--requests is {most}; it must be at least 1")
    kind, path = args.trace
    return read_trace(kind, Path(path), skip_bad_lines=hasattr(args, "skip_bad_lines"), most=most)


def _arrivals(args: argparse.Namespace, workload: Workload) -> Arrivals:
    from redline.bench.serving.arrivals import Closed, gamma, replayed

    if workload.arrivals_s is not None:
        return replayed(workload.arrivals_s, getattr(args, "trace_speed", 1.0), args.trace[1])
    if hasattr(args, "rate"):
        return gamma(len(workload.sessions), args.rate, getattr(args, "burstiness", 1.0), args.seed)
    return Closed(getattr(args, "concurrency", DEFAULT_CONCURRENCY))


@contextlib.contextmanager
def _subjects(args: argparse.Namespace, plan: ServePlan) -> Iterator[list[Subject]]:
    """The endpoints, each of which has answered; the own server runs as long as the context."""
    import asyncio

    from redline.bench.serving.bench import Subject
    from redline.bench.serving.cpu import CpuMeter
    from redline.bench.serving.endpoint import Endpoint
    from redline.bench.serving.own_server import OwnServer
    from redline.bench.serving.probe import probe

    key = env.api_key_in(args.api_key_env)
    common = {"api": args.api, "extra_body": _extra_body(args.extra_body)}
    eos = bool(args.ignore_eos)
    others = [
        Endpoint(base_url=url, model="", api_key=key, ignore_eos=eos, **common)
        for url in ([args.base_url] if args.base_url else []) + args.against
    ]
    if args.base_url:
        others[0] = replace(others[0], model=args.model or "")
    pid = getattr(args, "server_pid", None)
    CpuMeter(pid).check()
    ready = [asyncio.run(probe(endpoint)) for endpoint in others]
    subjects = [Subject(endpoint.base_url, endpoint) for endpoint in ready]
    if args.base_url:
        subjects[0].pid = pid
        yield subjects
        return
    own_keys = env.api_keys()
    with OwnServer(_own_flags(args, plan)) as server:
        own = Endpoint(
            base_url=server.url,
            model="",
            api_key=own_keys[0] if own_keys else None,
            ignore_eos=args.ignore_eos is not False,
            **common,
        )
        yield [Subject("redline", asyncio.run(probe(own, first=True)), server.pid), *subjects]


def _own_flags(args: argparse.Namespace, plan: ServePlan) -> list[str]:
    from redline.bench.serving.arrivals import Closed

    flags = ["--model", args.model or DEFAULT_MODEL, *engine_argv(engine_options(args))]
    if isinstance(plan.arrivals, Closed):  # users who wait are no overload
        flags += ["--max-queue", str(max(256, plan.arrivals.concurrency))]
    return flags


def _extra_body(text: str | None) -> dict[str, Any]:
    if text is None:
        return {}
    try:
        said = json.loads(text)
    except ValueError as error:
        raise ConfigError(f"--extra-body is no JSON: {error}") from None
    if not isinstance(said, dict):
        raise ConfigError('--extra-body must be a JSON object, as {"top_p": 0.9}')
    return said


def _report(
    args: argparse.Namespace, plan: ServePlan, subjects: list[Subject], slo: Slo | None, count: Count | None
) -> dict[str, Any]:
    from redline.bench.serving.bench import subject_report
    from redline.bench.serving.notes import notes_of

    workload = plan.workload(0)
    found = [subject_report(subject, plan, slo, count) for subject in subjects]
    for subject in found:
        subject["notes"] = notes_of(subject)
    promised = "" if slo is None else f" Goodput: {slo}."
    return {
        "kind": "serve",
        "title": f"{found[0]['model']}: {workload.name}, {plan.arrivals.describe()}",
        "intro": [
            f"{len(workload.requests)} requests a run: {workload.summary}. Seed {args.seed}.{promised}"
        ],
        "measured": {
            "workload": f"{workload.name} {workload.digest}",
            "arrivals": plan.arrivals.describe(),
            "slo": None if slo is None else str(slo),
            "model": found[0]["model"],
        },
        "slo_s": None if slo is None else dict(slo.limits_s),
        "timeouts": asdict(plan.timeouts),
        "repeats": args.repeats,
        "subjects": found,
    }


def _circumstances(args: argparse.Namespace, load_before: float) -> dict[str, Any]:
    from redline.bench.results.document import circumstances

    return circumstances(["redline", *args.argv], load_before)


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")
