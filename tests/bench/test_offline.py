from __future__ import annotations

import random
import re
from collections import Counter

import pytest

from redline.bench.ceiling import read_bandwidth
from redline.bench.environment import environment
from redline.bench.offline import Workload, bench_offline, decode_rate, peak_memory_bytes
from redline.bench.offline_report import as_text, offline_report
from redline.bench.results.document import circumstances
from redline.config.sampling import SamplingParams
from redline.engine.outputs import Choice, RequestMetrics, RequestOutput
from redline.errors import ConfigError


def metrics(arrival_s: float, ttft_s: float, itl_s: list[float]) -> RequestMetrics:
    return RequestMetrics(
        arrival_s=arrival_s, queue_s=0.0, ttft_s=ttft_s, tpot_s=sum(itl_s) / len(itl_s), itl_s=itl_s,
        e2e_s=ttft_s + sum(itl_s), num_prompt_tokens=4, num_output_tokens=1 + len(itl_s), num_cached_tokens=0,
    )  # fmt: skip


class FakeLLM:
    """Records what it is asked for; the first token takes 1 s, each further one 0.5 s."""

    class spec:
        vocab_size = 100
        max_context = 8192

    def __init__(self) -> None:
        self.calls: list[tuple[list[list[int]], SamplingParams]] = []

    def generate(self, prompts: list[list[int]], params: SamplingParams) -> list[RequestOutput]:
        self.calls.append((prompts, params))
        gaps = [0.5] * max(1, (params.max_tokens or 1) - 1)
        return [
            RequestOutput(
                request_id="r", prompt=None, prompt_token_ids=ids, choices=[Choice(index=0)],
                metrics=metrics(0.0, 1.0, gaps),
            )
            for ids in prompts
        ]  # fmt: skip


def test_one_request_decodes_at_the_inverse_of_its_gaps() -> None:
    assert decode_rate([metrics(5.0, 1.0, [0.25] * 8)]) == pytest.approx(4.0)


def test_tokens_before_the_last_prompt_is_done_do_not_count() -> None:
    early = metrics(0.0, 1.0, [1.0, 1.0, 1.0, 1.0])  # tokens at 1 2 3 4 5
    late = metrics(0.5, 2.5, [1.0, 1.0])  # tokens at 3 4 5
    assert decode_rate([early, late]) == pytest.approx(4 / 2.0)  # two each at 4 and 5, in the 2 s after 3


def test_rates_are_those_of_the_whole_batch() -> None:
    llm = FakeLLM()
    result = bench_offline(llm, Workload(batch=3, prompt_tokens=7, output_tokens=5, repeats=2))  # type: ignore[arg-type]
    assert result.runs["decode_tok_s"] == pytest.approx([3 / 0.5] * 2)
    assert (result.median("ttft_s"), result.median("tpot_s")) == (1.0, 0.5)
    assert [params.max_tokens for _, params in llm.calls] == [1, 5] * 3, "one pair warms up"
    assert all(params.ignore_eos and params.greedy for _, params in llm.calls)


def test_a_request_longer_than_the_context_is_refused_before_prompts_are_made() -> None:
    llm = FakeLLM()
    with pytest.raises(ConfigError, match="holds 8192"):
        bench_offline(llm, Workload(batch=1, prompt_tokens=8191, output_tokens=2, repeats=1))  # type: ignore[arg-type]
    assert not llm.calls


def test_repeats_share_no_prompt_and_a_seed_gives_the_same_ones() -> None:
    workload = Workload(batch=2, prompt_tokens=9)
    first, second = workload.prompts(1000, 0), workload.prompts(1000, 1)
    assert [len(ids) for ids in first] == [9, 9]
    assert len({tuple(ids) for ids in first + second}) == 4
    assert Workload(batch=2, prompt_tokens=9).prompts(1000, 0) == first


class NoisyLLM(FakeLLM):
    """Tokens take times drawn from one distribution, below a second; the benchmark has its clock."""

    def __init__(self, draw: random.Random, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__()
        self.draw, self.time_s = draw, 0.0
        monkeypatch.setattr("redline.bench.offline.time", self)

    def perf_counter(self) -> float:
        return self.time_s

    def generate(self, prompts: list[list[int]], params: SamplingParams) -> list[RequestOutput]:
        ttft_s, gap_s = self.draw.gauss(0.4, 0.02), self.draw.gauss(0.1, 0.004)
        done = metrics(self.time_s, ttft_s, [gap_s] * max(1, (params.max_tokens or 1) - 1))
        self.time_s += done.e2e_s
        return [
            RequestOutput(
                request_id="r",
                prompt=None,
                prompt_token_ids=prompts[0],
                choices=[Choice(index=0)],
                metrics=done,
            )
        ]


def printed(llm: FakeLLM, workload: Workload) -> dict[str, tuple[float, float]]:
    """The numbers of a report as its reader sees them, and half of the width of their intervals."""
    engine = {"threads": 1, "weights_bytes": 1, "kv_bytes": 1, "read_bandwidth_bytes_s": 1.0, "reasons": []}
    report = offline_report("m", workload, bench_offline(llm, workload), engine)  # type: ignore[arg-type]
    text = as_text({**report, **CIRCUMSTANCES})
    numbers = re.findall(r"^(\w[\w ]*?) +([\d.]+) (?:tok/s|m?s) +\+- ([\d.]+)%$", text, re.MULTILINE)
    return {title: (float(value), float(value) * float(share) / 100) for title, value, share in numbers}


CIRCUMSTANCES = circumstances(["redline", "bench", "offline"], 0.0)


@pytest.mark.parametrize("repeats", [3, 5])
def test_two_runs_of_one_machine_agree_within_the_printed_interval(monkeypatch, repeats: int) -> None:
    """Nineteen times in twenty, for each number of the table."""
    workload = Workload(prompt_tokens=100, output_tokens=4, repeats=repeats)
    llm, inside, pairs = NoisyLLM(random.Random(1), monkeypatch), Counter[str](), 400
    for _ in range(pairs):
        first, second = printed(llm, workload), printed(llm, workload)
        assert list(first) == ["prefill", "decode", "TTFT", "TPOT", "all of it"]
        for title, (value, half) in first.items():
            inside[title] += abs(second[title][0] - value) <= half
    for title, count in inside.items():
        assert 0.92 < count / pairs < 0.98, f"{title}: {count} of {pairs}"


@pytest.mark.parametrize("name", ["batch", "prompt_tokens", "output_tokens", "repeats"])
def test_a_workload_of_nothing_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=f"{name} is 0"):
        Workload(**{name: 0})


def test_the_environment_is_known() -> None:
    where = environment()
    assert where.cpu and where.num_cores >= 1 and where.memory_bytes > 2**28
    assert where.commit is None or where.commit.removesuffix("-dirty").isalnum()


def test_peak_memory_grows_with_what_is_allocated() -> None:
    before = peak_memory_bytes()
    assert before is not None
    held = bytearray(before + 2**25)  # more than was ever in use, touched by being zeroed
    held[:: 2**12] = b"1" * len(held[:: 2**12])
    after = peak_memory_bytes()
    assert after is not None and after > before + 2**24


def test_bandwidth_reads_every_byte_with_every_number_of_threads() -> None:
    assert all(read_bandwidth(threads, num_bytes=2**20, repeats=1) > 0 for threads in (1, 3))
