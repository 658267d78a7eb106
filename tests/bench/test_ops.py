"""bench ops: every trial calls a real op at the shapes of a model and counts what it moves."""

from __future__ import annotations

import json

import numpy as np
import pytest

from redline.bench import op_trials
from redline.bench.ceiling import Ceiling
from redline.bench.op_trials import GGUF_BLOCKS, TRIALS, Trial, random_weight
from redline.bench.ops import Roof, bench_ops, seconds_per_call, trials
from redline.bench.ops_report import as_text, ops_report
from redline.bench.results.document import circumstances
from redline.errors import ConfigError
from redline.models.spec import LayerSpec, ModelSpec, RopeSpec
from redline.ops.registry import backend

SPEC = ModelSpec(
    architecture="llama", vocab_size=320, hidden_size=256, intermediate_size=512, num_heads=4, num_kv_heads=2,
    head_dim=64, layers=(LayerSpec(rope=RopeSpec(rotary_dim=64)),) * 2, max_context=4096, norm_eps=1e-5,
    attention_scale=0.125,
)  # fmt: skip
CEILING = Ceiling(
    threads=1, isa="scalar", read_bytes=1e9, buffer_bytes=1, memory_read_bytes=1e9,
    macs={"f32": 1e9, "int8": 4e9},
)  # fmt: skip


@pytest.fixture(autouse=True)
def short_contexts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(op_trials, "CONTEXTS", (64, 128))


def test_every_op_runs_at_every_number_of_rows() -> None:
    seen = {}
    for trial in trials(SPEC, backend("cpu"), [1, 40], ["Q4_1", "F16"], ""):
        trial.call()
        trial.call()
        assert trial.bytes > 0 and trial.working_set > 0
        seen.setdefault(trial.op, set()).add(trial.rows)
    assert seen["matmul Q4_1"] == seen["rmsnorm"] == seen["rope"] == seen["silu_mul"] == {1, 40}
    for kv_format in ("f32", "f16", "bf16", "int8", "fp8", "int4"):
        assert seen[f"attention prefill {kv_format}"] == {40} and 1 in seen[f"attention decode {kv_format}"]
    assert {"rmsnorm", "kv_store f16", "embedding F16", "argmax", "sample", "top_logprobs"} <= set(seen)
    assert len(TRIALS) <= len(seen)


@pytest.mark.parametrize("format", GGUF_BLOCKS)
def test_random_weights_of_every_format_are_ordinary_numbers(format: str) -> None:
    weight = random_weight(format, (32, 512))
    rows = weight.embedding(backend("cpu"), np.arange(32, dtype=np.int32))
    assert np.isfinite(rows).all() and 0 < np.abs(rows).max() < 100
    x = np.ones((1, 512), np.float32)
    assert weight.matmul(backend("cpu"), x)[0] == pytest.approx(
        rows.sum(1), rel=0.02, abs=float(np.abs(rows).sum(1).max()) / 100
    )


def test_a_matmul_counts_its_weights_inputs_outputs_and_products() -> None:
    found = {trial.shape: trial for trial in trials(SPEC, backend("cpu"), [8], ["Q4_1"], "matmul")}
    down = found["down 256 x 512"]
    assert down.macs == 8 * 256 * 512
    assert down.bytes == 256 * 512 * 20 // 32 + 4 * 8 * (256 + 512)
    assert down.working_set == 2 * 256 * 512 * 20 // 32, "one matrix for each layer"
    assert down.kind == "int8"


def test_attention_counts_the_keys_that_each_query_sees() -> None:
    found = trials(SPEC, backend("cpu"), [1, 40], [], "attention_prefill")
    prefill = next(trial for trial in found if trial.shape == "context 64")
    assert prefill.macs == sum(range(25, 65)) * 2 * 4 * 64, "40 queries that see 25 to 64 keys"


def test_a_format_whose_blocks_do_not_fit_a_shape_has_no_trial() -> None:
    odd = ModelSpec(**{name: getattr(SPEC, name) for name in SPEC.__slots__} | {"hidden_size": 96})
    shapes = {trial.shape for trial in trials(odd, backend("cpu"), [1], ["Q6_K"], "matmul")}
    assert shapes == {"attention output 96 x 256", "down 96 x 512"}


def test_the_roof_is_the_longer_of_reading_and_multiplying(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def read(threads: int, *, num_bytes: int) -> float:
        asked.append(num_bytes)
        return 2e9

    monkeypatch.setattr("redline.bench.ops.read_bandwidth", read)
    roof = Roof(CEILING)

    def trial(macs: int, kind: str) -> Trial:
        call = lambda: None  # noqa: E731
        return Trial(
            op="o", shape="s", rows=1, call=call, bytes=2000, working_set=3 << 20, macs=macs, kind=kind
        )

    assert roof.seconds(trial(0, "f32")) == (1e-6, "memory")
    assert roof.seconds(trial(3000, "f32")) == (3e-6, "compute")
    assert roof.seconds(trial(3000, "int8")) == (1e-6, "memory")
    assert asked == [4 << 20], "measured once, over the next power of two"


def test_a_short_call_is_repeated_and_its_time_is_that_of_one(monkeypatch: pytest.MonkeyPatch) -> None:
    per_call = iter([0.001, 0.001, 0.005])
    counts = []

    def elapsed(call: object, count: int) -> float:
        counts.append(count)
        return next(per_call) * count

    monkeypatch.setattr("redline.bench.ops._elapsed_s", elapsed)
    assert seconds_per_call(print) == pytest.approx(0.005)
    assert counts == [1, 12, 12], "as many as take SAMPLE_S"


def test_rounds_go_through_all_ops_and_each_number_is_a_median_with_its_interval(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told, times_s = [], iter([1e-6, 2e-6, 3e-6, 1.1e-6, 2e-6, 3e-6, 1.2e-6, 2e-6, 3e-6])
    monkeypatch.setattr("redline.bench.ops.seconds_per_call", lambda call: next(times_s))
    results, interrupted = bench_ops(SPEC, backend("cpu"), [2], [], CEILING, "sampling", 3, told.append)
    assert not interrupted
    assert [line.split(",")[0] for line in told[::3]] == [f"round {n} of 3: argmax 320" for n in (1, 2, 3)]
    assert results[0].samples == [1e-6, 1.1e-6, 1.2e-6] and results[0].seconds == 1.1e-6
    report = ops_report(results, "m", CEILING, 3, interrupted)
    measured = report["subjects"][0]["metrics"]["argmax, 320, 2 rows"]
    assert measured["median"] == 1.1e-6 and measured["low"] < 1.1e-6 < measured["high"]
    assert json.loads(json.dumps(report)) == report
    lines = as_text({**report, **circumstances(["redline", "bench", "ops"], 0.0)}).splitlines()
    assert lines[1].split()[:6] == ["argmax", "320", "2", "1.1", "us", "+-"]
    assert lines[2].split()[3:7] == ["2.0", "us", "+-", "0.0%"]
    assert "Medians of 3 runs after a warm-up; +- is where the median of as many more lands" in "\n".join(
        lines
    )


def test_only_selects_and_must_select_something(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("redline.bench.ops.SAMPLE_S", 1e-5)
    results, _ = bench_ops(SPEC, backend("cpu"), [2], ["Q8_0"], CEILING, "sampling", 1)
    assert [result.op for result in results] == ["argmax", "sample", "top_logprobs"]
    assert (results[0].rows, results[0].bound, results[0].macs) == (2, "memory", 0) and results[0].share > 0
    with pytest.raises(ConfigError, match="--only is 'conv'; it must be a part of one of matmul, attention_"):
        bench_ops(SPEC, backend("cpu"), [2], ["Q8_0"], CEILING, "conv", 1)
