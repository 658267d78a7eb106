"""redline bench offline --workload: the requests of bench serve, without a server."""

from __future__ import annotations

import argparse
from functools import cache

from redline.cli import exit_codes
from redline.cli.bench_against import write_json
from redline.cli.loading import open_llm
from redline.cli.terminal import progress_bar
from redline.errors import ConfigError

ALONE = ("batch", "prompt_tokens", "output_tokens")  # sizes of the load without a name


def run(args: argparse.Namespace) -> int:
    """Measure, print, write."""
    for name in ALONE:
        if hasattr(args, name):
            raise ConfigError(f"--{name.replace('_', '-')} has no effect with --workload, which has sizes")
    if args.repeats < 1:
        raise ConfigError(f"--repeats is {args.repeats}; it must be at least 1")
    from redline.bench.offline_workload import bench_workload
    from redline.bench.results.document import circumstances, load_average
    from redline.bench.results.terminal import as_text
    from redline.bench.workloads import NAMES, Workload, build

    if args.workload not in NAMES:
        raise ConfigError(f"--workload is {args.workload!r}; the workloads are {', '.join(NAMES)}")
    load_before = load_average()
    llm = open_llm(args)

    @cache
    def workload_of(repeat: int) -> Workload:
        return build(
            args.workload,
            llm.tokenizer,
            args.seed,
            num_requests=getattr(args, "requests", None),
            repeat=repeat,
            scale=getattr(args, "scale", 1.0),
            max_tokens=llm.max_context,
        )

    with progress_bar("measuring", "repeats") as progress:
        metrics, interrupted = bench_workload(
            llm, workload_of, args.repeats, lambda done: progress(done, args.repeats)
        )
    workload = workload_of(0)
    report = {
        "kind": "offline",
        "title": f"{llm.model_name}: {workload.name}, all at once",
        "intro": [f"{len(workload.requests)} requests: {workload.summary}. Seed {args.seed}."],
        "measured": {"workload": f"{workload.name} {workload.digest}", "model": llm.model_name},
        "subjects": [{"name": "redline", "metrics": metrics, "notes": []}],
        "repeats": args.repeats,
        "interrupted": interrupted,
        "reasons": list(llm.reasons),
        **circumstances(["redline", *args.argv], load_before),
    }
    write_json(report, args.json, as_text(report))
    return exit_codes.INTERRUPTED if interrupted else 0
