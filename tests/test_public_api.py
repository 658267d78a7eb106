"""The public names and their signatures are frozen: a change here is a change for users."""

from __future__ import annotations

import dataclasses
import inspect
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import redline
from redline.config import memory
from redline.config.engine import EngineConfig

ROOT = Path(__file__).parent.parent

NAMES = [
    "LLM", "AsyncLLM", "Choice", "Delta", "RedlineError", "RequestMetrics", "RequestOutput", "SamplingParams",
    "Score",
    "StructuredOutputsParams",
]  # fmt: skip

FIELDS = {
    "SamplingParams": [
        "n", "max_tokens", "min_tokens", "temperature", "top_k", "top_p", "min_p", "typical_p", "top_n_sigma",
        "xtc_probability", "xtc_threshold", "mirostat", "mirostat_tau", "mirostat_eta", "repetition_penalty",
        "presence_penalty", "frequency_penalty", "dry_multiplier", "dry_base", "dry_allowed_length",
        "dry_penalty_last_n", "dry_sequence_breakers", "logit_bias", "bad_words", "allowed_token_ids",
        "dola_layer", "logits_processors", "seed", "stop", "stop_token_ids",
        "include_stop_str_in_output", "ignore_eos", "skip_special_tokens", "keep_special_tokens",
        "logprobs", "prompt_logprobs", "logprob_start_len", "use_beam_search", "best_of", "length_penalty",
        "early_stopping", "num_beam_groups", "diversity_penalty",
        "structured_outputs",
    ],
    "StructuredOutputsParams": [
        "json", "regex", "choice", "grammar", "json_object", "structural_tag", "whitespace_pattern",
    ],
    "RequestOutput": ["request_id", "prompt", "prompt_token_ids", "choices", "metrics", "prompt_logprobs",
                      "embedding"],
    "Choice": [
        "index", "text", "token_ids", "finish_reason", "stop_reason", "logprobs", "cumulative_logprob",
        "score",
    ],
    "Delta": [
        "request_id", "index", "text", "token_ids", "logprobs", "finish_reason", "stop_reason",
        "cumulative_logprob", "score", "metrics", "error", "prompt_logprobs", "embedding",
        "time_s",
    ],
    "RequestMetrics": [
        "arrival_s", "queue_s", "ttft_s", "tpot_s", "itl_s", "e2e_s", "num_prompt_tokens",
        "num_output_tokens", "num_cached_tokens", "num_draft_tokens", "num_accepted_tokens",
        "num_preemptions", "preempted_s",
    ],
    "Score": ["token_ids", "token_logprobs", "is_greedy"],
}  # fmt: skip

MEMORY = {
    "MemoryBudget": [
        "process_bytes", "free_bytes", "weight_bytes", "rotary_bytes", "activation_bytes", "graph_bytes",
        "scratch_bytes", "table_bytes", "drafting_bytes", "offload_bytes", "kv",
    ],
    "KVBudget": [
        "window", "num_layers", "num_sharing", "block_size", "block_bytes", "num_blocks", "name",
    ],
}  # fmt: skip

METHODS = {
    "LLM": {
        "__init__": ["self", "model", "progress", "options"],
        "generate": ["self", "prompts", "params"],
        "chat": ["self", "messages", "params", "tools"],
        "stream": ["self", "prompt", "params"],
        "embed": ["self", "prompts"],
        "loglikelihood": ["self", "pairs", "progress"],
        "loglikelihood_rolling": ["self", "texts", "progress"],
        "close": ["self"],
    },
    "AsyncLLM": {
        "__init__": ["self", "model", "progress", "options"],
        "stream": [
            "self",
            "prompt",
            "params",
            "request_id",
            "priority",
            "tenant",
            "deadline_s",
            "pin_s",
            "cache_salt",
            "shortcut",
        ],
        "embed": ["self", "prompt", "cache_salt"],
        "close": ["self"],
    },
}

OPTIONS = [
    "model", "max_context", "max_batch", "max_waiting", "threads", "device", "backend", "batching",
    "batch_window", "order", "kv_cache", "paged_cache", "prefix_cache", "chunked_prefill", "step_time",
    "prompt_share", "prefill_first", "kv_format", "kv_memory", "memory", "offload_memory", "cache_dir",
    "cache_dir_size", "block_size", "compute", "flash_attention", "fusion", "graph_replay", "speculative",
    "jump_ahead", "trace_events",
]  # fmt: skip


def test_all_is_complete_and_sorted() -> None:
    assert redline.__all__ == NAMES
    assert redline.__all__ == sorted(NAMES, key=lambda name: (not name.isupper(), name))


def test_every_name_loads_and_an_unknown_one_is_an_attribute_error() -> None:
    assert all(inspect.isclass(getattr(redline, name)) for name in NAMES)
    with pytest.raises(AttributeError, match="no attribute 'Nonsense'"):
        _ = redline.Nonsense


@pytest.mark.parametrize("name", FIELDS)
def test_fields_are_frozen(name: str) -> None:
    assert [field.name for field in dataclasses.fields(getattr(redline, name))] == FIELDS[name]


@pytest.mark.parametrize("name", MEMORY)
def test_the_memory_budget_is_frozen(name: str) -> None:
    assert [field.name for field in dataclasses.fields(getattr(memory, name))] == MEMORY[name]
    assert all(isinstance(cls.memory, property) for cls in (redline.LLM, redline.AsyncLLM))


@pytest.mark.parametrize("name", METHODS)
def test_methods_are_frozen(name: str) -> None:
    for method, parameters in METHODS[name].items():
        assert list(inspect.signature(getattr(getattr(redline, name), method)).parameters) == parameters


def test_engine_options_are_frozen() -> None:
    assert [field.name for field in dataclasses.fields(EngineConfig)] == OPTIONS


def test_the_version_is_one_in_package_project_and_changelog() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    headings = [line for line in (ROOT / "CHANGELOG.md").read_text().splitlines() if line.startswith("## ")]
    assert redline.__version__ == project
    assert headings[0].startswith(f"## {project} ")
    shown = subprocess.run(
        [sys.executable, "-P", "-m", "redline.cli.main", "--version"], capture_output=True, text=True
    )
    assert shown.stdout == f"redline {project}\n"
