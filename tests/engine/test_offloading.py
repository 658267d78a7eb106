"""Blocks that leave the cache, or outlive the process, change no bit of any answer. On the real model."""

import logging
import subprocess
import sys
from pathlib import Path

import pytest

from redline import LLM, SamplingParams
from redline.config.engine import EngineConfig
from redline.engine.fingerprint import fingerprint
from redline.errors import ConfigError
from tests.model_file import smollm2

GREEDY = SamplingParams(temperature=0.0, max_tokens=12, ignore_eos=True, logprobs=1)
SEEDED = SamplingParams(temperature=1.0, seed=3, max_tokens=12, ignore_eos=True, logprobs=1)
PROMPTS = [[(7 * index + 31 * place) % 9000 + 300 for place in range(90)] for index in range(8)]

model = pytest.mark.model


def answers(llm, prompts=PROMPTS):
    """Token ids and exact log-probabilities, greedy and seeded."""
    params = [(GREEDY, SEEDED)[index % 2] for index in range(len(prompts))]
    return [
        [(token.token_id, token.logprob) for token in output.choices[0].logprobs or []]
        for output in llm.generate(prompts, params)
    ]


def open_llm(**options):
    return LLM(str(smollm2()), max_context=256, **{"kv_memory": "64MiB", **options})


@pytest.fixture(scope="module")
def alone():
    return answers(open_llm(prefix_cache=False, max_batch=1))


@model
def test_a_cache_that_is_too_small_swaps_instead_of_computing_again():
    params = SamplingParams(temperature=0.0, max_tokens=50, ignore_eos=True)
    wanted = [output.choices[0].token_ids for output in open_llm().generate(PROMPTS, params)]
    with open_llm(kv_memory="8MiB", offload_memory="256MiB") as llm:
        assert [output.choices[0].token_ids for output in llm.generate(PROMPTS, params)] == wanted
        stats = llm.stats()
    assert stats.num_preemptions and stats.offload_spilled_blocks
    assert stats.offload_loaded_tokens >= 80, "whoever was preempted came back from host memory"


@model
def test_after_a_restart_nothing_is_computed_but_the_last_block(tmp_path, alone):
    with open_llm(cache_dir=str(tmp_path)) as llm:
        assert answers(llm) == alone
        assert not llm.stats().offload_loaded_tokens
    with open_llm(cache_dir=str(tmp_path)) as llm:
        assert answers(llm) == alone
        assert llm.stats().offload_loaded_tokens == 80 * len(PROMPTS)


@model
def test_host_memory_and_disk_work_together(tmp_path, alone):
    options = {"kv_memory": "8MiB", "offload_memory": "4MiB", "cache_dir": str(tmp_path)}
    for _ in range(2):
        with open_llm(**options) as llm:
            assert answers(llm) == alone
            assert llm.stats().offload_spilled_blocks
    assert llm.stats().offload_loaded_tokens >= 80 * len(PROMPTS)


@model
def test_other_formats_and_block_sizes_find_nothing(tmp_path):
    with open_llm(cache_dir=str(tmp_path)) as llm:
        answers(llm)
    for options in ({"kv_format": "int8"}, {"block_size": 8}, {"compute": "float", "kv_format": "f16"}):
        fresh = answers(open_llm(**options))
        with open_llm(cache_dir=str(tmp_path), **options) as llm:
            assert answers(llm) == fresh
            assert not llm.stats().offload_loaded_tokens
    assert len(list(tmp_path.iterdir())) == 4


@model
@pytest.mark.parametrize("harm", ["flip", "cut", "foreign", "empty"])
def test_a_damaged_file_costs_time_and_no_token(tmp_path, alone, harm, caplog):
    with open_llm(cache_dir=str(tmp_path)) as llm:
        answers(llm)
    (file,) = tmp_path.iterdir()
    content = bytearray(file.read_bytes())
    if harm == "flip":
        for place in range(5_000, len(content), 400_000):
            content[place] ^= 1
    harmed = {"flip": content, "cut": content[: len(content) // 3], "foreign": b"x" * 10**6, "empty": b""}
    file.write_bytes(harmed[harm])
    with caplog.at_level(logging.WARNING), open_llm(cache_dir=str(tmp_path)) as llm:
        assert answers(llm) == alone
        assert answers(llm) == alone
    assert harm == "empty" or caplog.records
    with open_llm(cache_dir=str(tmp_path)) as llm:
        assert answers(llm) == alone
        assert llm.stats().offload_loaded_tokens == 80 * len(PROMPTS), "the file is whole again"


@model
def test_of_two_processes_the_second_keeps_nothing_and_answers_right(tmp_path, alone, caplog):
    code = (
        "import sys; from redline import LLM; "
        f"llm = LLM({str(smollm2())!r}, max_context=256, kv_memory='64MiB', cache_dir={str(tmp_path)!r}); "
        "print('open', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout is not None and other.stdout.readline() == b"open\n"
        with caplog.at_level(logging.WARNING), open_llm(cache_dir=str(tmp_path)) as llm:
            assert answers(llm) == alone
        assert "another process" in caplog.text
        other.communicate(b"")


def test_the_fingerprint_changes_with_files_and_settings(tmp_path):
    file = tmp_path / "model.gguf"
    file.write_bytes(bytes(10**6))
    seen = {fingerprint(file, {"kv_format": "f16"}), fingerprint(file, {"kv_format": "int8"})}
    assert fingerprint(file, {"kv_format": "f16"}) in seen
    file.write_bytes(bytes(999_999) + b"1")
    seen.add(fingerprint(file, {"kv_format": "f16"}))
    assert fingerprint(tmp_path, {"kv_format": "f16"}) in seen, "a folder is its files"
    (tmp_path / "config.json").write_text("{}")
    seen.add(fingerprint(tmp_path, {"kv_format": "f16"}))
    assert len(seen) == 4 and all(len(each) == 32 for each in seen)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"cache_dir": "x", "prefix_cache": False}, "cache_dir is set and prefix_cache is off"),
        ({"offload_memory": "1GiB", "prefix_cache": False}, "offload_memory is set and prefix_cache is off"),
        ({"cache_dir": ""}, "cache_dir is ''"),
        ({"cache_dir": 3}, "cache_dir is 3"),
        ({"cache_dir_size": "huge"}, "cache_dir_size is 'huge'"),
        ({"offload_memory": "5 bananas"}, "offload_memory is '5 bananas'"),
    ],
)
def test_contradictions_are_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        EngineConfig(model="m", **options)


@model
def test_a_folder_that_cannot_be_is_refused_at_the_start(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="cache_dir"):
        open_llm(cache_dir=str(tmp_path / "file"))
    with pytest.raises(ConfigError, match="cache_dir_size is 1048576"):
        open_llm(cache_dir=str(tmp_path / "folder"), cache_dir_size="1MiB", block_size=64)


@model
def test_a_model_left_open_keeps_its_cache_when_python_ends(tmp_path):
    code = (
        "from redline import LLM, SamplingParams; "
        f"llm = LLM({str(smollm2())!r}, max_context=256, kv_memory='64MiB', cache_dir={str(tmp_path)!r}); "
        f"llm.generate([{PROMPTS[0]}], SamplingParams(max_tokens=1))"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    (file,) = Path(tmp_path).iterdir()
    with open_llm(cache_dir=str(tmp_path)) as llm:
        output = llm.generate([PROMPTS[0]], GREEDY)[0]
    assert output.metrics.num_cached_tokens == 80 and file.stat().st_size > 10**6
