from __future__ import annotations

import random
import re
import statistics
from html.parser import HTMLParser

import pytest

from redline.bench.results.compare import (
    BETTER,
    DIFFERENT,
    SAME,
    UNKNOWN,
    WORSE,
    can_tell,
    compare,
    only_in_one,
    permutation_p,
    unlike,
)
from redline.bench.results.html import as_html
from redline.bench.results.interval import Interval, quantile
from redline.bench.results.metric import Metric, quoted, spread_text, value_text
from redline.bench.results.terminal import as_text


@pytest.mark.parametrize(("center", "number"), [("mean", statistics.fmean), ("median", statistics.median)])
def test_a_second_measurement_lands_in_the_interval_of_the_first(center, number) -> None:
    """Nineteen times in twenty, for whatever number of runs, however much they vary."""
    draw = random.Random(1)
    for runs in (2, 3, 4, 5, 12):
        inside = 0
        for _ in range(2000):
            first, second = ([draw.gauss(50, 4) for _ in range(runs)] for _ in range(2))
            inside += number(second) in Interval.of(first, center)
        assert 0.935 < inside / 2000 < 0.965


def test_the_median_is_quoted_where_a_metric_says_so() -> None:
    measured = Metric("x", "s", "lower", "median").measured([1.0, 2.0, 9.0])
    assert quoted(measured) == measured["median"] == 2.0 and "mean" not in measured
    assert measured["high"] - 2.0 == pytest.approx(2.0 - measured["low"])
    assert quoted({"mean": 4.0}) == 4.0, "of an older report"


def test_one_run_has_no_interval() -> None:
    interval = Interval.of([3.0])
    assert (interval.center, interval.low, interval.high) == (3.0, None, None)
    assert 3.0 not in interval
    assert spread_text(Metric("x", "s", "lower").measured([3.0])) == "one run"


def test_the_quantiles_go_on_beyond_the_table() -> None:
    assert quantile(31) == pytest.approx(2.040, abs=0.003) and quantile(1000) == pytest.approx(
        1.962, abs=0.002
    )


def test_permutations_find_what_is_there_and_seldom_what_is_not() -> None:
    draw = random.Random(2)
    false, found = 0, 0
    for _ in range(400):
        a, b = ([draw.gauss(10, 1) for _ in range(5)] for _ in range(2))
        false += permutation_p(a, b) < 0.05
        found += permutation_p(a, [value + 4 for value in b]) < 0.05
    assert false / 400 < 0.08 and found / 400 > 0.97


def test_exact_values_of_the_test() -> None:
    assert permutation_p([1, 2, 3, 4], [5, 6, 7, 8]) == pytest.approx(2 / 70)
    assert permutation_p([1, 1], [1, 1]) == 1
    assert permutation_p([0.1] * 3 + [0.3], [0.1] * 3 + [0.3]) == 1
    many = [float(value) for value in range(20)]
    assert permutation_p(many, [value + 100 for value in many]) < 0.001  # drawn, not listed


def measured(values, better="lower"):
    return {"x": Metric("X", "s", better).measured(values)}


@pytest.mark.parametrize(
    ("a", "b", "better", "verdict"),
    [
        ([1, 2, 3, 4], [5, 6, 7, 8], "lower", WORSE),
        ([1, 2, 3, 4], [5, 6, 7, 8], "higher", BETTER),
        ([1, 5, 3, 7], [2, 4, 6, 8], "lower", SAME),
        ([1, 2, 3], [5, 6, 7], "lower", UNKNOWN),
        ([1], [9], "lower", UNKNOWN),
        ([1, 2, 3, 4], [5, 6, 7, 8], "neither", DIFFERENT),
    ],
)
def test_verdicts(a, b, better, verdict) -> None:
    (difference,) = compare(measured(a, better), measured(b, better))
    assert difference.verdict == verdict


def test_how_many_runs_can_tell() -> None:
    assert [can_tell(n, n) for n in (1, 2, 3, 4, 5)] == [False, False, False, True, True]


def test_what_two_reports_do_not_share_is_named() -> None:
    where = {"cpu": "A", "num_cores": 2}
    one = {"measured": {"workload": "chat 1", "model": "m"}, "environment": where}
    other = {"measured": {"workload": "chat 2", "model": "m"}, "environment": {**where, "cpu": "B"}}
    assert unlike(one, one) == []
    assert unlike(one, other) == ["workload: chat 1 / chat 2", "machine: A, 2 cores / B, 2 cores"]


def test_of_parts_of_a_workload_only_those_that_differ_are_named() -> None:
    where = {"cpu": "A", "num_cores": 2}
    one, other = (
        {"measured": {"workload": {"seed": 0, **cases}, "model": "m"}, "environment": where}
        for cases in ({"prefill": "512 in"}, {"prefill": "512 in", "mixed": "200 at once"})
    )
    assert unlike(one, other) == ["workload, mixed: none / 200 at once"]


def test_numbers_that_only_one_report_has_are_named() -> None:
    a, b = measured([1, 2]), {"y": Metric("Y", "s", "lower").measured([1, 2])}
    assert only_in_one(a, {**a, **b}) == ["only in B: Y"] and not only_in_one(a, a)
    assert only_in_one(a, b) == ["only in A: X", "only in B: Y"]
    many = {str(place): Metric(str(place), "s", "lower").measured([1]) for place in range(9)}
    assert only_in_one(many, {}) == ["only in A: 0; 1; 2; 3; 4; 5; and 3 more"]


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [(0.0123, "s", "12.3 ms"), (1.234, "s", "1.23 s"), (456.7, "tok/s", "457 tok/s"), (0.5, "%", "50.0%"),
     (0.0000042, "s", "0.0042 ms"), (0, "req/s", "0 req/s")],
)  # fmt: skip
def test_values_are_written_with_three_digits(value, unit, text) -> None:
    assert value_text(value, unit) == text


def report(*names: str) -> dict:
    where = {"cpu": "Chip <1>", "num_cores": 2, "memory_bytes": 2**34, "system": "Linux", "commit": None,
             "redline": "0", "python": "3"}  # fmt: skip
    curve = {name: [0.001 * (share + 1) for share in range(101)] for name in ("ttft", "tbt", "tpot", "e2e")}
    subjects = [
        {
            "name": name,
            "metrics": {"a_s": Metric("TTFT p50", "s", "lower").measured([0.1 + place, 0.11, 0.12, 0.13])},
            "notes": ["<b>odd</b> [bold]text[/] \x1b[31m"],
            "curves": curve,
            "timeline": {"bin_s": 0.5, "running": [0, 1, 2], "chunks_s": [0.0, 4.0, 2.0]},
        }
        for place, name in enumerate(names)
    ]
    return {"kind": "serve", "title": "T & U", "intro": ["I"], "measured": {}, "subjects": subjects,
            "slo_s": {"ttft": 0.05}, "repeats": 4, "interrupted": False, "load_before": 0.5,
            "environment": where, "date": "2026-01-01", "command": ["redline", "bench"]}  # fmt: skip


class Tags(HTMLParser):
    """Raises unless every tag is closed by its own."""

    VOID = {"meta", "line", "polyline", "rect"}

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[str] = []

    def handle_starttag(self, tag, attrs) -> None:
        self.seen.append(tag)
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag) -> None:
        assert self.open.pop() == tag

    def handle_startendtag(self, tag, attrs) -> None:
        self.seen.append(tag)


@pytest.mark.parametrize("names", [("one",), ("one", "two")])
def test_the_page_stands_alone_and_is_well_formed(names) -> None:
    page = as_html(report(*names))
    tags = Tags()
    tags.feed(page)
    assert tags.open == [] and tags.seen.count("svg") == 6
    assert "script" not in tags.seen and not re.search(r"(src|href)=|url\(|@import", page)
    assert "&lt;b&gt;odd&lt;/b&gt;" in page and "Chip &lt;1&gt;" in page and "T &amp; U" in page
    assert "prefers-color-scheme: dark" in page and "nan" not in page
    assert ("one beside" in page, "two beside one" in page) == (False, len(names) == 2)


def test_the_terminal_shows_text_as_it_is() -> None:
    text = as_text(report("one", "two"))
    assert "<b>odd</b> [bold]text[/] ?[31m" in text and "\x1b" not in text
    assert "two beside one" in text and "no difference shown" in text
    assert "+- where" not in text and "Means of 4 runs" in text


def test_a_page_without_plots_has_none() -> None:
    bare = report("one")
    for subject in bare["subjects"]:
        del subject["curves"]
    assert "<svg" not in as_html(bare)
