import pytest

from redline.config.engine import EngineConfig, parse_bytes
from redline.errors import ConfigError


@pytest.mark.parametrize(
    "field, value",
    [
        ("model", ""),
        ("max_context", 1),
        ("max_batch", 0),
        ("max_batch", "8"),
        ("threads", 0),
        ("chunked_prefill", 0),
        ("block_size", 0),
        ("kv_format", "f8"),
        ("batching", "dynamc"),
        ("order", "random"),
        ("prompt_share", 0),
        ("prompt_share", 1.5),
        ("prompt_share", float("nan")),
        ("batch_window", -1.0),
        ("batch_window", "1"),
        ("prefill_first", 1),
        ("kv_memory", "lots"),
        ("kv_memory", 5),
        ("kv_memory", "1e99GiB"),
        ("compute", "fp4"),
        ("device", "tpu"),
        ("prefix_cache", 1),
        ("kv_cache", 0),
        ("paged_cache", "no"),
        ("flash_attention", None),
    ],
)
def test_a_bad_value_is_refused_by_name(field, value):
    with pytest.raises(ConfigError, match=field):
        EngineConfig(**{"model": "m", field: value})


def test_an_unknown_key_is_refused_with_a_suggestion():
    with pytest.raises(ConfigError, match="did you mean 'max_batch'"):
        EngineConfig.from_dict({"model": "m", "max_bach": 4})


@pytest.mark.parametrize(
    "text, number",
    [
        ("2GiB", 2 * 2**30),
        ("512 MiB", 512 * 2**20),
        ("1.5gb", 1_500_000_000),
        ("2097152", 2**21),
        (2**22, 2**22),
    ],
)
def test_sizes(text, number):
    assert parse_bytes("kv_memory", text) == number


@pytest.mark.parametrize(
    "options, named",
    [
        ({"kv_cache": False, "speculative": "ngram"}, "speculative is set and kv_cache is off"),
        ({"kv_cache": False, "cache_dir": "/tmp"}, "cache_dir is set and kv_cache is off"),
        ({"paged_cache": False, "offload_memory": "64MiB"}, "offload_memory is set and paged_cache is off"),
    ],
)
def test_what_needs_the_cache_is_refused_without_it(options, named):
    with pytest.raises(ConfigError, match=named):
        EngineConfig(model="m", **options)
