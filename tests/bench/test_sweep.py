"""The sweep on a fake engine and clock: the load, how it is driven, what is measured, who runs when."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from typing import Any

import pytest

from redline.bench.sweep.drive import drive
from redline.bench.sweep.grid import Setting, grid
from redline.bench.sweep.load import Load, Request
from redline.bench.sweep.measure import Measured, as_json, measure, medians
from redline.bench.sweep.sweep import SweepPlan, least_requests, runs_of, sweep
from redline.bench.sweep.target import Target, best, closest
from redline.engine.outputs import Delta, RequestMetrics
from redline.engine.request import RequestOptions
from redline.errors import ConfigError, EngineDead


class FakeEngine:
    """A step takes a second and gives each request a token; the clock moves with steps and sleep alone."""

    def __init__(self, window_s: float | None = None) -> None:
        self.time_s = 100.0
        self.running: dict[str, tuple[float, int, list[float]]] = {}  # arrival, tokens wanted, token times
        self.most = 0
        self.slept: list[float] = []
        self.aborted: list[str] = []
        self.window_s = window_s  # of a closed batch
        self.fails_at: int | None = None

    has_work = property(lambda self: bool(self.running))

    def now_s(self) -> float:
        return self.time_s

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.time_s += seconds

    def idle_for_s(self) -> float | None:
        return self.window_s if self.running else None

    def flush(self) -> None:
        self.window_s = None

    def abort(self, request_id: str) -> None:
        self.aborted.append(request_id)

    def add(self, request_id: str, prompt: list[int], params: Any, options: RequestOptions) -> None:
        assert params.ignore_eos and params.greedy
        self.running[request_id] = (options.arrival_s or self.time_s, params.max_tokens, [])
        self.most = max(self.most, len(self.running))

    def step(self) -> list[Delta]:
        self.time_s += 1.0
        deltas = []
        for request_id, (arrival_s, wanted, times) in list(self.running.items()):
            times.append(self.time_s)
            if self.fails_at == self.time_s:
                deltas.append(Delta(request_id=request_id, error=EngineDead("no")))
            elif len(times) == wanted:
                del self.running[request_id]
                first_s = times[0] - arrival_s
                deltas.append(Delta(request_id=request_id, metrics=times_of(arrival_s, first_s, len(times))))
            else:
                deltas.append(Delta(request_id=request_id))
        return deltas


def times_of(arrival_s: float, ttft_s: float, tokens: int, gap_s: float = 1.0, **more: Any) -> RequestMetrics:
    fields: dict[str, Any] = {
        "queue_s": 0.0, "tpot_s": gap_s, "itl_s": [gap_s] * (tokens - 1), "num_prompt_tokens": 10,
        "e2e_s": ttft_s + gap_s * (tokens - 1), "num_cached_tokens": 0, **more,
    }  # fmt: skip
    return RequestMetrics(arrival_s=arrival_s, ttft_s=ttft_s, num_output_tokens=tokens, **fields)


def run(engine: FakeEngine, requests: list[Request], concurrency: int | None) -> list[RequestMetrics]:
    return drive(engine, requests, concurrency, sleep=engine.sleep)  # type: ignore[arg-type]


def test_a_closed_loop_keeps_the_batch_full_and_starts_the_next_when_one_ends() -> None:
    engine = FakeEngine()
    metrics = run(engine, [Request([1], tokens) for tokens in (2, 5, 3, 4)], 2)
    assert engine.most == 2 and not engine.slept and not engine.aborted
    assert [each.num_output_tokens for each in metrics] == [2, 5, 3, 4], "in the order of the requests"
    assert [each.arrival_s for each in metrics] == [100, 100, 102, 105]


def test_an_open_loop_keeps_to_the_arrival_times_and_sleeps_when_nothing_runs() -> None:
    engine = FakeEngine()
    metrics = run(engine, [Request([1], 2, at_s) for at_s in (0.0, 0.5, 7.0)], None)
    assert engine.most == 2
    assert [each.arrival_s for each in metrics] == [100, 100.5, 107], "not when the step had ended"
    assert [each.ttft_s for each in metrics] == [1, 1.5, 1]
    assert engine.slept == [4.0]


def test_a_closed_batch_waits_for_arrivals_but_not_when_there_are_no_more() -> None:
    engine = FakeEngine(window_s=0.25)
    run(engine, [Request([1], 2, at_s) for at_s in (0.0, 0.5)], None)
    assert engine.slept == [0.25, 0.25], "until the second one has come"
    closed = FakeEngine(window_s=0.25)
    run(closed, [Request([1], 2)] * 3, 2)
    assert not closed.slept


def test_a_request_that_fails_ends_the_run_and_the_others_are_aborted() -> None:
    engine = FakeEngine()
    engine.fails_at = 102.0
    with pytest.raises(EngineDead):
        run(engine, [Request([1], 5)] * 3, 3)
    assert len(engine.aborted) == 3


def test_lengths_are_the_same_in_each_repeat_and_prompts_are_not() -> None:
    load = Load(requests=200, prompt_tokens=50, output_tokens=20, seed=3)
    first, second = load.drawn(1000, 1), load.drawn(1000, 2)
    sizes = [(len(each.prompt), each.output_tokens) for each in first]
    assert sizes == [(len(each.prompt), each.output_tokens) for each in second]
    assert all(one.prompt != other.prompt for one, other in zip(first, second, strict=True))
    assert first == Load(requests=200, prompt_tokens=50, output_tokens=20, seed=3).drawn(1000, 1)
    assert sizes != [(len(each.prompt), each.output_tokens) for each in Load(requests=200).drawn(1000, 1)]


def test_heavy_lengths_have_the_median_and_a_tail_that_ends() -> None:
    load = Load(requests=4000, prompt_tokens=50, output_tokens=20)
    requests = load.drawn(10, 1)
    prompts, outputs = [len(each.prompt) for each in requests], [each.output_tokens for each in requests]
    assert statistics.median(prompts) == pytest.approx(50, rel=0.1)
    assert statistics.median(outputs) == pytest.approx(20, rel=0.1)
    assert max(prompts) == 400 and max(outputs) <= 160 and min(outputs) >= 2
    assert load.max_tokens == 560
    assert sum(length >= 100 for length in prompts) / 4000 == pytest.approx(0.19, abs=0.03)


def test_fixed_lengths_are_all_equal() -> None:
    load = Load(requests=5, prompt_tokens=7, output_tokens=3, lengths="fixed")
    assert {(len(each.prompt), each.output_tokens) for each in load.drawn(10, 1)} == {(7, 3)}
    assert load.max_tokens == 10


def test_arrivals_come_at_random_times_at_the_rate_that_is_asked_for() -> None:
    requests = Load(requests=2001, prompt_tokens=1, rate=4.0).drawn(10, 1)
    times = [each.at_s or 0.0 for each in requests]
    assert times == sorted(times) and times[0] == 0.0
    assert times[-1] / 2000 == pytest.approx(0.25, rel=0.1)
    gaps = [later - earlier for earlier, later in zip(times, times[1:], strict=False)]
    assert statistics.stdev(gaps) == pytest.approx(0.25, rel=0.1), "exponential: as wide as its mean"
    assert Load(requests=2).drawn(10, 1)[1].at_s is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"requests": 1}, "requests is 1; it must be at least 2"),
        ({"prompt_tokens": 0}, "prompt_tokens is 0"),
        ({"output_tokens": 1}, "output_tokens is 1; it must be at least 2"),
        ({"lengths": "long"}, "lengths is 'long'; it must be one of heavy, fixed"),
        ({"rate": 0.0}, "rate is 0.0; it must be requests per second, above 0"),
        ({"rate": float("nan")}, "rate is nan"),
    ],
)
def test_a_load_of_nothing_is_refused(options, message) -> None:
    with pytest.raises(ConfigError, match=message):
        Load(**options)


def test_the_grid_is_sorted_and_each_setting_in_it_once() -> None:
    settings, left_out = grid([8, 1, 8], [None, 64])
    assert [str(setting) for setting in settings] == [
        "batch 1, budget 64", "batch 8, budget 64", "batch 1, budget none", "batch 8, budget none",
    ]  # fmt: skip
    assert not left_out


def test_a_budget_below_a_batch_is_left_out_with_a_reason() -> None:
    settings, left_out = grid([4, 16], [8])
    assert [setting.max_batch for setting in settings] == [4]
    assert left_out == [
        "Left out: batch 16 with a budget of 8, because a step could give no more than 8 of its sequences a "
        "token."
    ]
    with pytest.raises(ConfigError, match="no budget that reaches 16, the smallest batch.*to 16 or more"):
        grid([16, 32], [8])
    with pytest.raises(ConfigError, match="make 53 settings; a sweep takes at most 52"):
        grid(range(1, 54), [512])


def test_rates_count_between_the_first_tokens_of_the_first_batch_and_of_the_last_request() -> None:
    requests = [
        times_of(0.0, 1.0, 5),  # tokens at 1 2 3 4 5
        times_of(0.0, 2.0, 4),  # 2 3 4 5
        times_of(5.0, 1.0, 3, queue_s=0.5),  # 6 7 8
    ]
    measured = measure(requests, 2, [50.0])
    assert measured.output_tok_s == pytest.approx(7 / 4), "3 + 3 + 1 tokens after 2, until 6"
    assert measured.total_tok_s == pytest.approx(17 / 4), "and the third prompt"
    assert measured.occupancy == pytest.approx((3 + 3 + 0.5) / 4)
    assert (measured.ttft_s, measured.tpot_s) == ({50.0: 1.0}, {50.0: 1.0})


def test_the_first_batch_does_not_count_for_latencies() -> None:
    early = [times_of(0.0, 9.0, 3, gap_s=5.0)] * 4
    late = [times_of(20.0, ttft_s, 3, gap_s=ttft_s / 10) for ttft_s in (1.0, 2.0, 3.0)]
    measured = measure([*early, *late], 4, [50.0, 95.0, 100.0])
    assert measured.ttft_s == pytest.approx({50.0: 2.0, 95.0: 2.9, 100.0: 3.0})
    assert measured.tpot_s == pytest.approx({50.0: 0.2, 95.0: 0.29, 100.0: 0.3})


def test_a_run_whose_first_batch_ends_last_counts_whole() -> None:
    requests = [times_of(0.0, 6.0, 2), times_of(1.0, 1.0, 4)]  # first tokens at 6 and 2, the end at 7
    assert measure(requests, 1, [50.0]).output_tok_s == pytest.approx(6 / 7)


def measured(output_tok_s: float, ttft_s: float, tpot_s: float) -> Measured:
    return Measured(
        output_tok_s=output_tok_s, total_tok_s=3 * output_tok_s, occupancy=2.0, num_preemptions=0,
        ttft_s={50.0: ttft_s / 2, 95.0: ttft_s, 99.0: 2 * ttft_s},
        tpot_s={50.0: tpot_s / 2, 95.0: tpot_s, 99.0: 2 * tpot_s},
    )  # fmt: skip


def test_each_number_is_a_median_of_its_own() -> None:
    middle = medians([measured(1, 30, 2), measured(3, 10, 1), measured(2, 20, 3)])
    assert (middle.output_tok_s, middle.ttft_s[95.0], middle.tpot_s[99.0]) == (2, 20, 4)
    assert as_json(middle)["ttft_s"] == {"p50": 10.0, "p95": 20, "p99": 40}


POINTS = [measured(100, 0.1, 0.01), measured(300, 0.3, 0.02), measured(200, 0.2, 0.03)]


@pytest.mark.parametrize(
    ("target", "place"),
    [
        (Target(ttft_s=1.0), 1),
        (Target(ttft_s=0.2), 2),
        (Target(ttft_s=0.2, tpot_s=0.02), 0),
        (Target(tpot_s=0.02, percentile=99.0), 0),
        (Target(tpot_s=0.001), None),
        (Target(), None),
    ],
)
def test_the_best_has_the_most_output_among_those_that_meet_every_target(target, place) -> None:
    assert best(POINTS, target) == place


def test_the_closest_misses_by_the_smallest_factor() -> None:
    assert closest(POINTS, Target(tpot_s=0.001)) == 0
    assert closest(POINTS, Target(ttft_s=0.29, tpot_s=0.019)) == 0
    assert Target(ttft_s=0.05, tpot_s=0.02).excess(POINTS[1]) == pytest.approx(6.0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"ttft_s": 0.0}, "--ttft is 0; it must be seconds, above 0"),
        ({"tpot_s": float("nan")}, "--tpot is nan"),
        ({"percentile": 100.0}, "--percentile is 100; it must lie between 0 and 100"),
    ],
)
def test_a_target_that_nothing_can_have_is_refused(options, message) -> None:
    with pytest.raises(ConfigError, match=message):
        Target(**options)


SETTINGS = [Setting(max_batch=batch, chunked_prefill=64) for batch in (1, 2, 4)]


def plan(repeats: int = 2, **options: Any) -> SweepPlan:
    load = Load(requests=8, **options)
    return SweepPlan(settings=SETTINGS, load=load, target=Target(percentile=90.0), repeats=repeats)


class FakeRuns:
    """Records who runs when; `interrupted_at` is the run that Ctrl-C ends."""

    def __init__(self, interrupted_at: int | None = None) -> None:
        self.order: list[tuple[int, int]] = []
        self.interrupted_at = interrupted_at

    def __call__(self, setting: Setting, repeat: int, on_request: Callable[[], None]) -> list[RequestMetrics]:
        if len(self.order) == self.interrupted_at:
            raise KeyboardInterrupt
        self.order.append((setting.max_batch, repeat))
        for _ in range(8):
            on_request()
        first = [times_of(0.0, 1.0, 3)] * setting.max_batch
        return [*first, *[times_of(2.0, 1.0 + repeat, 3)] * (8 - setting.max_batch)]


def test_repeats_go_through_all_settings_after_the_largest_warmed_up() -> None:
    runs, told = FakeRuns(), []
    swept, interrupted = sweep(runs, plan(), lambda done, total: told.append((done, total)))
    assert runs.order == [(4, 0), (1, 1), (2, 1), (4, 1), (4, 2), (2, 2), (1, 2)]
    assert not interrupted and [len(each.runs) for each in swept] == [2, 2, 2]
    assert told == [(done, 56) for done in range(1, 57)]
    assert swept[0].median.ttft_s[90.0] == 2.5, "of 2 and 3: the warm-up does not count"


def test_ctrl_c_leaves_what_was_measured() -> None:
    swept, interrupted = sweep(FakeRuns(interrupted_at=3), plan())
    assert interrupted and [each.setting.max_batch for each in swept] == [1, 2]
    with pytest.raises(KeyboardInterrupt):
        sweep(FakeRuns(interrupted_at=1), plan())


def test_too_few_requests_for_the_largest_batch_are_refused() -> None:
    assert (least_requests(SETTINGS, None), least_requests(SETTINGS, 3.0)) == (8, 2)
    with pytest.raises(ConfigError, match="--requests is 7; it must be at least 8, twice the largest batch"):
        SweepPlan(settings=SETTINGS, load=Load(requests=7), target=Target())
    assert plan(rate=1.0).fill(SETTINGS[2]) == 1 and plan().fill(SETTINGS[2]) == 4
    with pytest.raises(ConfigError, match="--repeats is 0"):
        plan(repeats=0)


def test_requests_beyond_the_context_are_refused_before_anything_runs() -> None:
    class Small:
        max_context = 1535

    with pytest.raises(ConfigError, match="up to 1536 tokens with heavy lengths; the context holds 1535"):
        runs_of(Small(), Load())  # type: ignore[arg-type]
