from __future__ import annotations

from pathlib import Path

import pytest

from redline.bench.traces.replay import replay
from redline.bench.traces.trace import Trace, read_trace
from redline.bench.traces.traced import Traced
from redline.errors import ConfigError

AZURE = """TIMESTAMP,ContextTokens,GeneratedTokens
2023-11-16 18:15:50.9951690,396,109
2023-11-16 18:15:46.6805900,374,44
2023-11-16 18:15:51,12,0
"""
MOONCAKE = """{"timestamp": 0, "input_length": 700, "output_length": 50, "hash_ids": [0, 1]}
{"timestamp": 2500, "input_length": 1024, "output_length": 20, "hash_ids": [0, 2]}
"""


def written(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_azure_times_are_sorted_and_start_at_zero(tmp_path) -> None:
    trace = read_trace("azure", written(tmp_path / "a.csv", AZURE))
    assert [round(each.at_s, 6) for each in trace.requests] == [0.0, 4.314579, 4.31941]
    assert [(each.input_tokens, each.output_tokens) for each in trace.requests] == [
        (374, 44), (396, 109), (12, 1),
    ]  # fmt: skip


@pytest.mark.parametrize("time", ["18:15:46.25", "18:15:46.2500000+00:00", "20:15:46.25+02:00"])
def test_azure_times_may_have_an_offset(tmp_path, time) -> None:
    text = AZURE.splitlines()[0] + f"\n2023-11-16 18:15:46+00:00,1,1\n2023-11-16 {time},1,1\n"
    trace = read_trace("azure", written(tmp_path / "a.csv", text))
    assert [each.at_s for each in trace.requests] == [0.0, 0.25]


def test_mooncake_has_blocks(tmp_path) -> None:
    trace = read_trace("mooncake", written(tmp_path / "m.jsonl", MOONCAKE))
    assert trace.requests == (Traced(0.0, 700, 50, (0, 1)), Traced(2.5, 1024, 20, (0, 2)))


BAD_AZURE = (
    AZURE + "yesterday,1,2\n2023-11-16 18:15:51,3\n\n2023-11-16 18:15:52,-4,5\n2023-11-16 18:15:53,x,5\n"
)
BAD_MOONCAKE = MOONCAKE + "{\n[]\n" + "\n".join(
    [
        '{"timestamp": 1, "input_length": 5, "output_length": 5}',
        '{"timestamp": NaN, "input_length": 5, "output_length": 5, "hash_ids": [1]}',
        '{"timestamp": 1, "input_length": Infinity, "output_length": 5, "hash_ids": [1]}',
        '{"timestamp": 1, "input_length": "5", "output_length": 5, "hash_ids": [1]}',
        '{"timestamp": 1, "input_length": 5000, "output_length": 5, "hash_ids": [1]}',
        '{"timestamp": 1, "input_length": 5, "output_length": 5, "hash_ids": ["a"]}',
    ]
)  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "text", "numbers"),
    [("azure", BAD_AZURE, [5, 6, 8, 9]), ("mooncake", BAD_MOONCAKE, list(range(3, 11)))],
)
def test_bad_lines_are_named_and_left_out_only_on_demand(tmp_path, kind, text, numbers) -> None:
    path = written(tmp_path / "trace", text)
    with pytest.raises(ConfigError, match=rf"has {len(numbers)} bad lines: line {numbers[0]}: "):
        read_trace(kind, path)
    trace = read_trace(kind, path, skip_bad_lines=True)
    assert [line.number for line in trace.bad_lines] == numbers
    assert trace.requests == read_trace(kind, written(path, AZURE if kind == "azure" else MOONCAKE)).requests
    assert f"{len(numbers)} bad lines left out" in trace.describe()


def test_a_line_that_is_cut_off_is_named_once(tmp_path) -> None:
    path = written(tmp_path / "m.jsonl", MOONCAKE + '{"timestamp": 1\n')
    with pytest.raises(
        ConfigError, match="1 bad lines: line 3: Expecting ',' delimiter at column 16; --skip"
    ):
        read_trace("mooncake", path)


@pytest.mark.parametrize(
    ("kind", "text", "message"),
    [
        ("burst", "", "--trace is of kind 'burst'; the kinds are azure, mooncake"),
        ("azure", "", "line 1: the header lacks TIMESTAMP"),
        ("azure", MOONCAKE, "line 1: the header lacks TIMESTAMP"),
        ("mooncake", "\n", "has no requests"),
    ],
)
def test_files_that_are_no_trace_are_refused(tmp_path, kind, text, message) -> None:
    with pytest.raises(ConfigError, match=message):
        read_trace(kind, written(tmp_path / "trace", text))


def test_a_missing_file_is_named(tmp_path) -> None:
    with pytest.raises(ConfigError, match="cannot read .*nothing.csv: No such file"):
        read_trace("azure", tmp_path / "nothing.csv")


def test_only_as_many_as_are_wanted_are_read(tmp_path) -> None:
    assert len(read_trace("azure", written(tmp_path / "a.csv", AZURE), most=2).requests) == 2


def trace_of(*requests: Traced) -> Trace:
    return Trace("mooncake", "t", requests)


def test_equal_blocks_are_equal_text_and_others_are_not() -> None:
    first, second, third = (
        request.prompt
        for request in replay(
            trace_of(Traced(0, 1024, 9, (0, 1)), Traced(1, 1024, 9, (0, 2)), Traced(2, 600, 9, (0, 1)))
        ).requests
    )
    block = 512 * 4  # characters
    assert first[:block] == second[:block] and first[block : block + 40] != second[block : block + 40]
    assert first.startswith(third) and len(third) == 4 * 600 and len(first) == 4 * 1024


def test_lengths_are_scaled_and_cut_and_that_is_said() -> None:
    workload = replay(trace_of(Traced(0, 1000, 100), Traced(7, 9000, 100)), scale=0.5, max_tokens=1024)
    assert [len(prompt) // 4 for prompt in workload.prompts] == [500, 1024 - 32 - 50]
    assert [request.output_tokens for request in workload.requests] == [50, 50]
    assert "lengths times 0.5, 1 cut to 1024 tokens" in workload.summary
    assert workload.arrivals_s == (0, 7)


@pytest.mark.parametrize("scale", [0.001, 0.00292, 0.01, 0.03, 0.5, 1.0, 1.5])
def test_scaled_blocks_add_up_to_the_scaled_length(scale) -> None:
    sizes = (6758, 7680, 600)
    trace = trace_of(*(Traced(place, size, 9, tuple(range(15))) for place, size in enumerate(sizes)))
    whole, longest, short = replay(trace, scale=scale).prompts
    assert [len(prompt) / 4 for prompt in (whole, longest, short)] == [
        max(1, round(size * scale)) for size in sizes
    ]
    assert longest.startswith(whole) and longest.startswith(short)


def test_repeats_ask_for_other_texts() -> None:
    trace = trace_of(Traced(0, 600, 9, (0, 1)), Traced(1, 50, 9))
    one, other = (replay(trace, repeat=repeat).prompts for repeat in (0, 1))
    assert not set(one) & set(other)
