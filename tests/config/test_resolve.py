import pytest

from redline.config.engine import EngineConfig
from redline.config.resolve import Hardware, ModelLimits, resolve_cache, resolve_runtime, share_blocks
from redline.errors import ConfigError

MACHINE = Hardware(num_cores=2, free_bytes=2**32)
MODEL = ModelLimits(trained_context=2048, kv_bytes_per_token={"f32": (2048,), "f16": (1024,), "int8": (544,)})


def settle(**options):
    config = EngineConfig(model="m", **options)
    runtime = resolve_runtime(config, MACHINE, None)
    return runtime, resolve_cache(config, runtime, MODEL, MACHINE)


def test_every_auto_leaves_a_reason():
    runtime, cache = settle()
    said = " ".join(runtime.reasons + cache.reasons)
    for name in ("backend=", "compute=", "kv_format=", "threads=", "max_context=", "kv_memory="):
        assert name in said


def test_what_was_asked_for_is_kept_without_a_reason():
    runtime, cache = settle(threads=1, compute="float", kv_format="f16", kv_memory="1MiB", max_context=64)
    assert (runtime.threads, runtime.compute, runtime.kv_format) == (1, "float", "f16")
    assert (cache.max_context, cache.num_blocks) == (64, (64,))
    assert not any(reason.startswith(("threads", "kv_format", "kv_memory")) for reason in runtime.reasons)


def test_float_compute_keeps_keys_and_values_in_float():
    assert settle(compute="float")[0].kv_format == "f32"


def test_the_pool_is_no_larger_than_a_full_batch_can_fill():
    assert settle(max_batch=2, max_context=160)[1].num_blocks == (20,)


def test_auto_takes_a_share_of_what_is_free():
    config = EngineConfig(model="m", max_batch=4096)
    runtime = resolve_runtime(config, MACHINE, None)
    cache = resolve_cache(config, runtime, MODEL, Hardware(num_cores=2, free_bytes=2**26))
    assert cache.kv_bytes == 2**25


def test_a_budget_without_room_for_two_blocks_is_refused_with_the_numbers():
    big = ModelLimits(trained_context=2048, kv_bytes_per_token={"f32": (2**20,), "f16": (2**19,)})
    config = EngineConfig(model="m", kv_memory="10MiB")
    with pytest.raises(ConfigError, match="1 blocks of 16 tokens.*at least 2.*raise kv_memory"):
        resolve_cache(config, resolve_runtime(config, MACHINE, None), big, MACHINE)


def test_a_context_beyond_the_training_is_refused():
    with pytest.raises(ConfigError, match="max_context is 4096.*2048"):
        settle(max_context=4096)


def test_the_environment_sets_threads_when_the_config_does_not():
    config = EngineConfig(model="m")
    runtime = resolve_runtime(config, MACHINE, 7)
    assert runtime.threads == 7
    assert "threads=7: REDLINE_THREADS" in runtime.reasons


def test_a_window_takes_no_more_than_its_layers_can_use():
    limits = ModelLimits(trained_context=2048, kv_bytes_per_token={"f16": (1024, 512)}, windows=(0, 64))
    config = EngineConfig(model="m", kv_format="f16", max_batch=2, chunked_prefill=32)
    runtime = resolve_runtime(config, MACHINE, None)
    cache = resolve_cache(config, runtime, limits, MACHINE)
    assert cache.num_blocks == (2 * 2048 // 16, 2 * 2 * (96 // 16 + 2))
    assert cache.kv_bytes == cache.num_blocks[0] * 16 * 1024 + cache.num_blocks[1] * 16 * 512


@pytest.mark.parametrize(
    "budget, expected",
    [(0, (0, 0)), (14, (0, 0)), (15, (1, 1)), (59, (3, 3)), (60, (4, 4)), (70, (5, 4)), (10_000, (9, 4))],
)
def test_groups_get_equally_many_blocks_until_one_has_enough(budget, expected):
    assert share_blocks(budget, [10, 5], [9, 4]) == expected
