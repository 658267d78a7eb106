"""The comparison on fake engines: processes that work, die, hang and lie, and the table that comes of it."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from redline.bench import against
from redline.bench.against import Engine, Row, Seat, compare, measure
from redline.bench.cases import FIRST_TOKEN, Case, Load, Part, cases, cases_named, mixed_lengths
from redline.bench.ceiling import Ceiling, part_ceiling
from redline.bench.contest_rows import metric_of, rows_of, subjects_of
from redline.bench.footprint import Footprint
from redline.bench.peers.environments import PeerFailed
from redline.bench.report import as_markdown, as_text
from redline.bench.results.metric import spread_text
from redline.errors import ConfigError

WORKER = Path(__file__).parent / "fake_worker.py"
PART = Part(name="decode", metric="decode", batch=2, prompt_tokens=4, output_tokens=5, timeout_s=0.4)
CASE = Case(name="decode", summary="2 x 4 in, 5 out", parts=(PART,))
MODEL = Footprint(
    layer_bytes=90, output_bytes=10, layer_macs=1000, output_macs=200, kv_bytes=2, attention_macs=3
)
CEILING = Ceiling(
    threads=2,
    isa="avx2",
    read_bytes=1e4,
    buffer_bytes=100,
    memory_read_bytes=5e3,
    macs={"f32": 1e5, "int8": 2e6},
)


def engine(name: str, model: str = "works", **settings: Any) -> Engine:
    options = {"model": model, "threads": 2}
    command = (sys.executable, str(WORKER))
    return Engine(name=name, reads="itself", command=command, options=options, **settings)


@pytest.fixture(autouse=True)
def no_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(against, "REST_S", 0.0)


@pytest.fixture
def run() -> Iterator[Callable[..., dict[str, Row]]]:
    """run(engines, cases) -> the rows of the last case by engine."""
    open_seats: list[Seat] = []

    def run_engines(engines: list[Engine], *chosen: Case, repeats: int = 1) -> dict[str, Row]:
        seats = [Seat(engine=each) for each in engines]
        open_seats.extend(seats)
        rows: list[Row] = []
        compare(seats, chosen or (CASE,), repeats, 0, 100, lambda line: None, rows)
        return {row.engine: row for row in rows}

    yield run_engines
    for seat in open_seats:
        seat.close()


def test_a_worker_that_works_gives_a_rate_per_round(run) -> None:
    row = run([engine("A")], repeats=2)["A"]
    assert row.failure is None and len(row.values) == 2
    assert 0 < row.values[0] < 2001, "2 tokens per millisecond, less what sleeping overshoots"
    assert len(row.first_ids) == 4


@pytest.mark.parametrize(
    ("behaviour", "reason"),
    [
        ("dies", "ended with SIGABRT: the last words"),
        ("hangs", "no answer within 2 s"),
        ("complains", "RuntimeError: out of slots"),
        ("lies", "made 8 tokens instead of 10"),
        ("unopened", "ValueError: no such file"),
    ],
)
def test_a_worker_that_fails_is_a_row_and_the_others_go_on(run, behaviour: str, reason: str) -> None:
    rows = run([engine("A"), engine("bad", behaviour), engine("B")])
    assert rows["bad"].failure == reason and rows["bad"].median is None
    assert rows["A"].median and rows["B"].median


def test_an_engine_that_could_not_be_prepared_or_started_is_a_row(run) -> None:
    missing = Engine(name="missing", reads="itself", command=("/no/such/python",), options={})
    rows = run([engine("unbuilt", failure="no compiler"), missing, engine("A")])
    assert rows["unbuilt"].failure == "no compiler"
    assert rows["missing"].failure and rows["missing"].failure.startswith("cannot be started: ")
    assert rows["A"].median


def test_a_worker_that_failed_is_started_again_for_the_next_case() -> None:
    seat = Seat(engine=engine("A", "complains"))
    rows: list[Row] = []
    compare([seat], [CASE], 1, 0, 100, lambda line: None, rows)
    assert seat.worker is None
    seat.engine.options["model"] = "works"
    compare([seat], [CASE], 1, 0, 100, lambda line: None, rows)
    seat.close()
    assert rows[0].failure and rows[1].median and seat.peak_memory_bytes and seat.peak_memory_bytes > 2**20


def test_an_interrupt_leaves_the_rows_so_far(monkeypatch: pytest.MonkeyPatch) -> None:
    seat = Seat(engine=engine("A"))
    rows: list[Row] = []

    def tell(line: str) -> None:
        if line == "decode: round 2 of 2, A":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        compare([seat], [CASE, CASE], 2, 0, 100, tell, rows)
    seat.close()
    assert [len(row.values) for row in rows] == [1]


def test_first_token_times_the_process_from_its_start(run) -> None:
    rows = run([engine("A"), engine("silent", "silent")], cases()[FIRST_TOKEN])
    assert rows["A"].unit == "s" and rows["A"].values[0] > 0.001
    assert rows["silent"].failure == "ended with code 3 before any text"


def answer(first_s: list[float], events: list[tuple[float, int]], counts: list[int]) -> dict[str, Any]:
    return {"first_s": first_s, "events": events, "ids": [[7] * count for count in counts]}


def test_decoding_is_timed_from_the_last_first_token() -> None:
    got = answer([1.0, 3.0], [(1.0, 1), (2.0, 1), (3.0, 2), (4.0, 2), (5.0, 4)], [5, 5])
    assert measure(PART, Load([[1], [2]], [5, 5]), got) == pytest.approx(6 / 2.0)


def test_a_prefill_is_timed_to_the_last_first_token_and_a_mixed_load_to_its_end() -> None:
    got = answer([1.0, 4.0], [(1.0, 1), (4.0, 1), (8.0, 8)], [5, 5])
    load = Load([[1] * 3, [2] * 5], [5, 5])
    assert measure(Part(name="p", metric="prefill", batch=2), load, got) == pytest.approx(8 / 4.0)
    assert measure(Part(name="m", metric="total", batch=2), load, got) == 8.0
    with pytest.raises(PeerFailed, match="made 10 tokens instead of 11"):
        measure(PART, Load([[1], [2]], [5, 6]), got)


def test_loads_repeat_for_a_seed_and_share_nothing_between_rounds() -> None:
    first, second = PART.load(100, 0, 1), PART.load(100, 0, 2)
    assert PART.load(100, 0, 1) == first and PART.load(100, 1, 1) != first
    assert len({tuple(prompt) for prompt in first.prompts + second.prompts}) == 4


def test_mixed_lengths_are_seeded_bounded_and_heavy_tailed() -> None:
    inputs, outputs = mixed_lengths(2000, 0)
    assert mixed_lengths(2000, 0) == (inputs, outputs) != mixed_lengths(2000, 1)
    assert min(inputs) == 16 and max(inputs) == 1500 and min(outputs) == 16 and max(outputs) == 400
    middle = sorted(inputs)[1000]
    assert 140 < middle < 180
    assert 0.08 < sum(length >= 4 * middle for length in inputs) / 2000 < 0.17
    assert mixed_lengths(200, 0)[0] == inputs[:200], "fewer requests are the first of more"


def test_a_mixed_load_warms_up_with_a_part_of_itself() -> None:
    mixed = cases(40)["mixed"].parts[0]
    assert len(mixed.load(100, 0, 0).prompts) == 11 and len(mixed.load(100, 0, 1).prompts) == 40


def test_prompts_of_a_shared_prefix_differ_only_in_their_ends() -> None:
    assert "shared_prefix" not in [case.name for case in cases_named(None)]
    part = cases_named("shared_prefix")[0].parts[0]
    prompts = part.load(50_000, 0, 1).prompts
    assert len(prompts) == 32 and {len(prompt) for prompt in prompts} == {1032}
    assert len({tuple(prompt[:1000]) for prompt in prompts}) == 1
    assert len({tuple(prompt[1000:]) for prompt in prompts}) == 32
    assert part.load(50_000, 0, 2).prompts[0][:1000] != prompts[0][:1000], "no round knows that of another"


def test_cases_keep_their_order_and_unknown_ones_are_refused() -> None:
    assert [case.name for case in cases_named("mixed, prefill")] == ["prefill", "mixed"]
    with pytest.raises(ConfigError, match="--cases names 'decode_9'; the cases are prefill, decode_1"):
        cases_named("prefill,decode_9")
    with pytest.raises(ConfigError, match="--mixed-requests is 0"):
        cases_named(None, 0)


def test_the_ceiling_is_the_slower_of_reading_and_multiplying() -> None:
    # 100 bytes of weights and 2 x 6 tokens of 2 bytes; 2 x 1200 multiply-adds and 12 x 3 for attention.
    decode = part_ceiling(PART, MODEL, CEILING)
    assert decode == pytest.approx(2 / (124 / 1e4))
    prefill = part_ceiling(Part(name="p", metric="prefill", batch=1, prompt_tokens=100), MODEL, CEILING)
    assert prefill == pytest.approx(100 / ((100 * 1000 + 200 + 5050 * 3) / 2e6))
    assert part_ceiling(cases()["mixed"].parts[0], MODEL, CEILING) is None


def rows_of_three() -> list[Row]:
    def row(name: str, **values: Any) -> Row:
        return Row(case="decode", part="decode", engine=name, unit="tok/s", **values)

    return [
        row("Redline", values=[80.0, 90.0, 100.0], first_ids=[1, 2]),
        row("slow", values=[32.0, 30.0], first_ids=[1, 3]),  # Ctrl-C came before its third round
        row("fast", values=[60.0]),
        row("bad", failure="ended with SIGILL | twice"),
    ]


def report_of_three() -> dict[str, Any]:
    where = {"cpu": "CPU", "num_cores": 2, "memory_bytes": 2**34, "system": "Linux", "commit": "abc",
             "redline": "0", "python": "3"}  # fmt: skip
    found = rows_of([CASE], rows_of_three(), CEILING, MODEL)
    described = {"launch": "how", "reads": "itself", "variables": {"A": "1"}, "peak_memory_bytes": 2**21}
    return {
        "date": "2026-01-01", "model": "m.gguf", "threads": 2, "isa": "native", "repeats": 3,
        "load_before": 0.0, "interrupted": True, "environment": where, "ceiling": CEILING.as_dict(),
        "command": ["redline", "x"],
        "engines": {name: described for name in ("Redline", "slow", "fast", "bad")},
        "cases": {"decode": CASE.summary}, "rows": found, "subjects": subjects_of(found),
    }  # fmt: skip


def test_the_table_names_the_best_peer_the_ratios_and_the_reasons() -> None:
    lines = as_text(report_of_three()).splitlines()
    redline, slow, fast, bad = lines[2:6]
    assert redline.split() == ["decode", "Redline", "90.0", "tok/s", "+-", "45.3%", "56%"]
    assert slow.split() == ["slow", "31.0", "tok/s", "+-", "57.0%", "19%", "2.75x", "+-", ">100%"]
    assert fast.split() == [
        "fast",
        "60.0",
        "tok/s",
        "one",
        "run",
        "37%",
        "1.33x",
        "one",
        "run",
        "best",
        "peer",
    ]
    assert bad.split() == ["bad", "failed", "ended", "with", "SIGILL", "|", "twice"]
    text = "\n".join(lines)
    for fact in (
        "peak memory 2 MiB",
        "how A=1",
        "Commit abc",
        "Command: redline x",
        "Interrupted. Medians of 1 to 3 alternating runs",
        "+- is where the median of as many more lands",
        "int8 0",
    ):
        assert fact in text, fact


def test_the_markdown_is_one_table_whose_cells_are_escaped() -> None:
    table = [line for line in as_markdown(report_of_three()).splitlines() if line.startswith("|")]
    assert {line.replace("\\|", "").count("|") for line in table} == {9}
    assert "SIGILL \\| twice" in table[-1]


def test_the_report_is_json_and_says_how_often_first_tokens_agree() -> None:
    rows = json.loads(json.dumps(report_of_three()))["rows"]
    assert [row["same_first_token"] for row in rows] == [None, 0.5, None, None]


def test_engines_that_slow_down_together_keep_a_narrow_ratio() -> None:
    ours, peer = rows_of_three()[:2]
    peer.values = [40.0, 45.0, 50.0]
    row = rows_of([CASE], [ours, peer], CEILING, MODEL)[1]
    assert spread_text(row["measured"]) == "+- 45.3%"
    assert spread_text(row["redline_ratio"]) == "+- 0.0%" and row["redline_ratio"]["values"] == [2.0] * 3


def test_what_compare_reads_has_each_engine_with_its_runs_or_why_there_are_none() -> None:
    redline, slow, _, bad = report_of_three()["subjects"]
    assert redline["metrics"]["decode"]["values"] == [80.0, 90.0, 100.0]
    assert list(slow["metrics"]) == ["decode", "decode redline_ratio"]
    assert (bad["metrics"], bad["notes"]) == ({}, ["decode failed: ended with SIGILL | twice"])


def test_times_are_better_when_smaller() -> None:
    rows = [Row(case="mixed", part="mixed", engine=name, unit="s", values=[value])
            for name, value in (("Redline", 4.0), ("slow", 12.0), ("fast", 6.0))]  # fmt: skip
    done = rows_of([], rows, CEILING, MODEL)
    assert [row["redline_ratio"] and row["redline_ratio"]["median"] for row in done] == [None, 3.0, 1.5]
    assert {row["measured"]["better"] for row in done} == {"lower"}
    assert [row["best_peer"] for row in done] == [False, False, True]


def test_growth_is_a_ratio_of_times_and_context_one_of_rates() -> None:
    parts = tuple(Part(name=f"p{n}", metric="prefill", batch=1, prompt_tokens=n) for n in (10, 20))
    rows = [
        Row(case="c", part=f"p{n}", engine="A", unit="tok/s", values=[rate])
        for n, rate in ((10, 8.0), (20, 4.0))
    ]
    growth = Case(name="growth", summary="", parts=parts, ratio="time", ratio_of_times=True)
    context = Case(name="context", summary="", parts=parts, ratio="rate")
    assert against._ratio(growth, *rows).values == [4.0], "twice the tokens at half the speed"
    better = [metric_of(against._ratio(case, *rows), [growth, context]).better for case in (growth, context)]
    assert better == ["lower", "higher"]
    assert against._ratio(context, *rows).values == [0.5]
    rows[0].failure = "died"
    assert against._ratio(context, *rows).median is None


def test_both_parts_of_a_case_run_and_its_ratio_is_a_row_of_its_own(run) -> None:
    context = cases()["context"]
    row = run([engine("A")], context)["A"]
    assert (row.part, row.unit) == ("rate at 4096 / at 256", "x") and row.median
