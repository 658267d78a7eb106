"""What a reader of a sweep sees: the table, both plots, and the sentences that say what to choose."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ET
from typing import Any

import pytest

from redline.bench.results.interval import Interval
from redline.bench.sweep.axis import milliseconds, tick_texts, ticks
from redline.bench.sweep.findings import findings
from redline.bench.sweep.grid import Setting
from redline.bench.sweep.labels import Labels
from redline.bench.sweep.load import Load
from redline.bench.sweep.report import as_markdown, as_text
from redline.bench.sweep.svg import as_svg
from redline.bench.sweep.sweep import SweepPlan, Swept
from redline.bench.sweep.target import Target
from redline.bench.sweep.text_plot import HEIGHT, WIDTH, text_plot
from tests.bench.test_sweep import measured

SVG = "{http://www.w3.org/2000/svg}"
RATES = {1: (100.0, 0.004), 2: (190.0, 0.005), 4: (340.0, 0.007), 8: (420.0, 0.012), 16: (450.0, 0.025)}
CIRCUMSTANCES = {
    "command": ["redline", "bench", "sweep"], "date": "2026-11-22", "model": "tiny<3", "left_out": [],
    "interrupted": False, "load_before": 0.5, "threads": 2, "kv_bytes": 1, "reasons": [],
    "ceiling": {"threads": 2, "isa": "avx2", "read_bytes": 1e10, "buffer_bytes": 1e8,
                "memory_read_bytes": 1e10, "macs": {"f32": 1e11}},
    "environment": {"cpu": "A CPU with a name that is rather long, as those of servers are", "num_cores": 2,
                    "memory_bytes": 2**34, "system": "Linux x86_64", "commit": "abc", "redline": "0.1.0",
                    "python": "3.11.7"},
}  # fmt: skip


def report(
    target: Target,
    budgets: tuple[int | None, ...] = (512,),
    runs: tuple[float, ...] = (1.0,),
    **circumstances: Any,
) -> dict[str, Any]:
    """`runs`: by what each run's rate and times are multiplied."""
    swept = [
        Swept(
            Setting(max_batch=batch, chunked_prefill=budget),
            [measured(run * (rate - number), 10 * run * tpot_s, run * tpot_s) for run in runs],
        )
        for number, budget in enumerate(budgets)
        for batch, (rate, tpot_s) in RATES.items()
    ]
    plan = SweepPlan(settings=[each.setting for each in swept], load=Load(), target=target)
    return {**CIRCUMSTANCES, **findings(plan, swept), **circumstances}


def test_findings_name_the_knee_and_the_best() -> None:
    found = report(Target(ttft_s=0.2, tpot_s=0.012))
    assert (found["knee"], found["best"], found["closest"]) == (2, 3, 0)
    assert [row["meets"] for row in found["settings"]] == [True] * 4 + [False]
    assert found["latency"] == "tpot_s" and found["curve"] == [0, 1, 2, 3, 4]
    assert found["settings"][3]["tpot_s"]["p95"] == 0.012 and len(found["settings"][3]["runs"]) == 1
    assert json.loads(json.dumps(found)) == found


def test_a_target_of_the_first_token_alone_puts_it_on_the_axis() -> None:
    found = report(Target(ttft_s=0.1))
    assert (
        found["latency"] == "ttft_s" and "TTFT p95, ms" in as_text(found) and "TTFT p95, ms" in as_svg(found)
    )


def test_without_a_target_there_is_a_knee_and_no_best() -> None:
    found = report(Target())
    assert (found["knee"], found["best"], found["closest"]) == (2, None, None)
    text = as_text(found)
    assert "Best" not in text and "No setting" not in text and found["settings"][0]["meets"] is None


def test_the_text_fits_80_columns_and_marks_what_stands_out() -> None:
    text = as_text(report(Target(tpot_s=0.012), left_out=["Left out: batch 32."]))
    lines = text.splitlines()
    assert max(map(len, lines)) <= 80
    assert " ".join(lines[5].split()) == "a 1 512 100 300 2.0 20.0 40.0 80.0 2.00 4.00 8.00"
    assert lines[7].split()[:2] == ["(c)", "4"] and lines[8].split()[:2] == ["[d]", "8"]
    assert "Knee: batch 4, budget 512: 340 output tok/s, TTFT p95 70.0 ms, TPOT p95 7.00 ms." in text
    assert "Best: batch 8, budget 512: 420 output tok/s" in text and "Left out: batch 32.\n" in text


def test_a_target_that_is_missed_is_said_plainly_with_the_closest_setting() -> None:
    words = " ".join(as_text(report(Target(tpot_s=0.002, percentile=99.0))).split())
    assert (
        "No setting has TPOT p99 of at most 2 ms. The closest is batch 1, budget 512: 100 output tok/s, "
        "TTFT p99 80.0 ms, TPOT p99 8.00 ms, 4.00 times the target."
    ) in words


def test_the_percentile_that_was_asked_for_has_a_column() -> None:
    found = report(Target())
    found["target"]["percentile"] = 90.0
    for row in found["settings"]:
        for name in ("ttft_s", "tpot_s"):
            row[name]["p90"] = 0.0005
    header, row = as_text(found).splitlines()[4:6]
    assert header.split()[-3:] == ["p50", "p90", "p99"] and row.split()[-2] == "0.50"


def test_what_was_interrupted_says_so() -> None:
    found = report(Target(), interrupted=True, runs=(1.0, 1.1))
    for each in list(found["subjects"][0]["metrics"].values())[-3:]:
        del each["values"][1]
    assert "Interrupted by the user. Medians of 1 to 2 alternating runs" in " ".join(as_text(found).split())


def test_every_number_has_its_interval_beside_it() -> None:
    found = report(Target(tpot_s=0.012), runs=(0.99, 1.0, 1.01))
    half = 100 * (Interval.of([0.99, 1.0, 1.01], "median").high - 1.0)
    lines = as_text(found).splitlines()
    assert max(map(len, lines)) <= 80
    assert lines[5].split()[:5] == ["a", "1", "512", "100", "300"]
    assert lines[6].split() == ["+-", f"{half:.1f}%", f"{half:.1f}%", "0.0%", *[f"{half:.1f}%"] * 6]
    assert lines[7].split()[:2] == ["b", "2"]
    beside = f"420 output tok/s +- {half:.1f}%, TTFT p95 120 ms +- {half:.1f}%, TPOT p95 12.0 ms +-"
    assert beside in " ".join(as_text(found).split())
    rows = [line for line in as_markdown(found, None).splitlines() if line.startswith("| best |")]
    assert f"| 420 +- {half:.1f}% | 1260 +- {half:.1f}% | 2.0 +- 0.0% | 60.0 +- {half:.1f}% |" in rows[0]


def test_one_run_has_no_line_of_intervals() -> None:
    text = as_text(report(Target())) + as_markdown(report(Target()), None)
    assert not re.search(r"\+- +[\d>]", text) and "One run, which has no interval" in text


def test_what_compare_reads_has_every_run_of_every_number() -> None:
    found = report(Target(), runs=(0.9, 1.0))
    metrics = found["subjects"][0]["metrics"]
    assert found["kind"] == "sweep" and len(metrics) == 5 * 9
    assert metrics["batch 8, budget 512 tpot_s p95"]["values"] == pytest.approx([0.0108, 0.012])
    assert metrics["batch 8, budget 512 output_tok_s"]["better"] == "higher"
    assert metrics["batch 8, budget 512 occupancy"]["better"] == "neither"


def test_markdown_has_a_row_for_each_setting_and_the_plot() -> None:
    lines = as_markdown(report(Target(tpot_s=0.012)), "plot.svg").splitlines()
    rows = [line for line in lines if re.match(r"\| (knee|best)? *\| \d", line)]
    assert len(rows) == 5 and rows[2].startswith("| knee | 4 | 512 | 340 |")
    assert rows[3].startswith("| best | 8 |") and len({row.count("|") for row in rows}) == 1
    assert "![Throughput over latency](plot.svg)" in lines
    assert "![" not in as_markdown(report(Target()), None)


def plotted(lines: list[str], letter: str) -> tuple[float, float]:
    """Where a letter stands in the area, as shares from the left and from below."""
    margin = lines[1].index("+") + 1
    [(row, column)] = [
        (row, line.index(letter, margin)) for row, line in enumerate(lines[1:-3]) if letter in line[margin:]
    ]
    return (column - margin) / (WIDTH - 1), 1 - row / (HEIGHT - 1)


def test_letters_stand_where_their_numbers_are() -> None:
    lines = text_plot({"a": (1.0, 20.0), "(b)": (5.0, 90.0), "c": (9.0, 100.0)}, ["a", "(b)"], ("x", "y"))
    assert max(map(len, lines)) <= 80
    assert lines[-2].split() == ["0", "2", "4", "6", "8", "10"] and lines[0] == "y"
    assert plotted(lines, "a") == (pytest.approx(0.1, abs=0.02), pytest.approx(20 / 120, abs=0.04))
    assert plotted(lines, "b") == (pytest.approx(0.5, abs=0.02), pytest.approx(90 / 120, abs=0.04))
    assert "." in "".join(lines[1:-3])


def test_two_points_on_one_place_are_both_shown_and_a_limit_is_a_line() -> None:
    lines = text_plot({"a": (1.0, 2.0), "b": (1.0, 2.0), "c": (1.0, 2.0)}, [], ("x", "y"), limit=2.0)
    assert any("abc" in line for line in lines)
    assert sum(":" in line for line in lines) == HEIGHT


@pytest.mark.parametrize(
    ("most", "about", "places"),
    [
        (100, 5, [0, 20, 40, 60, 80, 100]),
        (0.07, 4, [0, 0.02, 0.04, 0.06, 0.08]),
        (9.9, 4, [0, 2.5, 5, 7.5, 10]),
    ],
)
def test_ticks_are_round_and_reach_the_most(most, about, places) -> None:
    assert ticks(most, about) == pytest.approx(places)


def test_numbers_are_written_with_three_digits() -> None:
    assert tick_texts([0, 0.30000000000000004, 2500.0]) == ["0", "0.3", "2,500"]
    assert [milliseconds(s) for s in (0.00123, 0.009996, 0.0123, 0.09996, 1.2345)] == [
        "1.23", "10.0", "12.3", "100", "1234",
    ]  # fmt: skip


def elements(svg: str, tag: str, kind: str = "") -> list[ET.Element]:
    return [each for each in ET.fromstring(svg).iter(SVG + tag) if kind in each.get("class", "")]


def test_the_svg_has_a_point_for_each_setting_and_rings_what_stands_out() -> None:
    svg = as_svg(report(Target(tpot_s=0.012)))
    points = elements(svg, "circle", "point")
    assert len(points) == 5 and len(elements(svg, "circle", "ring")) == 2
    assert sum(point.get("fill") == "var(--ground)" for point in points) == 1, "one misses the target"
    texts = ["".join(each.itertext()) for each in elements(svg, "text", "label")]
    assert sorted(texts) == ["1", "16", "2", "4, knee", "8, best"]
    assert len(elements(svg, "line", "limit")) == 1 and "prefers-color-scheme: dark" in svg
    assert "tiny&lt;3" in svg and "http" not in svg.replace(SVG.strip("{}"), "")


def test_points_of_the_svg_lie_on_the_scale_of_its_axes() -> None:
    svg = as_svg(report(Target()))
    points = [
        (float(each.get("cx", 0)), float(each.get("cy", 0))) for each in elements(svg, "circle", "point")
    ]
    by_height = sorted(points, key=lambda point: -point[1])
    assert [x for x, _ in by_height] == sorted(x for x, _ in points), "more output, more latency"
    texts = {"".join(each.itertext()): each for each in elements(svg, "text", "soft")}
    x_25, y_100 = float(texts["25"].get("x", 0)), float(texts["100"].get("y", 0)) - 4
    assert max(points)[0] == pytest.approx(x_25, abs=0.1), "25 ms"
    assert by_height[0][1] == pytest.approx(y_100, abs=0.1), "100 tok/s"


def test_two_budgets_are_two_lines_and_labels_name_both_numbers() -> None:
    svg = as_svg(report(Target(), budgets=(64, None)))
    lines = [each.get("points", "").split() for each in elements(svg, "polyline", "curve")]
    assert [len(line) for line in lines] == [5, 5] and not set(lines[0]) & set(lines[1])
    assert {each.get("stroke") for each in elements(svg, "circle", "point")} == {"var(--c0)", "var(--c1)"}
    texts = {"".join(each.itertext()) for each in elements(svg, "text", "label")}
    assert {"1/64", "1/none", "4/64, knee"} <= texts


def test_a_target_far_away_does_not_squeeze_the_points() -> None:
    near, far = report(Target(tpot_s=0.039)), report(Target(tpot_s=0.041))
    assert elements(as_svg(near), "line", "limit") and not elements(as_svg(far), "line", "limit")
    assert "   :" in as_text(near) and "   :" not in as_text(far)


def test_a_label_takes_a_free_side_inside_the_area() -> None:
    labels = Labels((0, 0, 200, 200), [(100, 100), (70, 100)])
    assert labels.put((100, 100), "word", 8) == (108, 104, "start"), "another point is at the left"
    assert labels.put((100, 100), "word", 8) == (100, 90, "middle")
    corner = Labels((0, 0, 200, 200), [])
    assert corner.put((2, 100), "word", 8) == (10, 104, "start"), "the left is outside"
    crowded = Labels((0, 0, 200, 200), [(x, y) for x in range(0, 201, 10) for y in range(0, 201, 10)])
    assert crowded.put((2, 100), "word", 8)[2] == "start", "covering something, but inside"
    lined = Labels((0, 0, 200, 200), [])
    lined.keep_free_of(80)
    assert lined.put((100, 100), "word", 8) == (108, 104, "start")
