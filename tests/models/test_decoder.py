import numpy as np
import pytest

from redline.cache.paged import PagedKV
from redline.layers.batch import Batch
from redline.models.load_weights import load_weights
from redline.ops.registry import backend
from tests.models.files import write_directory
from tests.models.stepper import Stepper

TOKENS = [3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5]


@pytest.fixture(scope="module", params=["cpu", "reference"])
def decoder(request, tmp_path_factory):
    path = write_directory(tmp_path_factory.mktemp("m") / "m")
    return load_weights(path, backend(request.param), "float")


def test_rows_are_the_rows_of_all_logits(decoder):
    whole = Stepper(decoder, 16).step(TOKENS)
    np.testing.assert_array_equal(Stepper(decoder, 16).step(TOKENS, [10, 0, 4]), whole[[10, 0, 4]])


def test_a_chunk_without_logits_still_fills_the_cache(decoder):
    stepper = Stepper(decoder, 16)
    assert stepper.step(TOKENS[:7], []).shape == (0, decoder.spec.vocab_size)
    np.testing.assert_allclose(stepper.step(TOKENS[7:]), Stepper(decoder, 16).step(TOKENS)[7:], atol=1e-5)


def test_sequences_of_a_batch_do_not_touch_each_other(decoder):
    """Two sequences of different lengths, the second with blocks taken at random."""
    spec, size = decoder.spec, 4
    kv = PagedKV([0] * spec.num_layers, [6], size, spec.num_kv_heads, spec.head_dim, "f32")
    prompts, tables = [TOKENS, TOKENS[2:7]], [[5, 0, 3], [2, 4, 0]]
    positions = [np.arange(len(prompt)) for prompt in prompts]
    slots = [np.array(table)[p // size] * size + p % size for table, p in zip(tables, positions, strict=True)]
    batch = Batch(
        token_ids_T=np.concatenate(prompts).astype(np.int32),
        positions_T=np.concatenate(positions).astype(np.int32),
        slots_GT=(np.concatenate(slots).astype(np.int32),),
        block_tables_GSB=(np.array(tables, np.int32),),
        query_start_S1=np.array([0, 11, 16], np.int32),
        context_lens_S=np.array([11, 5], np.int32),
        logit_rows_R=np.array([10, 15], np.int32),
    )
    logits = decoder.forward(batch, kv)
    for row, prompt in enumerate(prompts):
        alone = Stepper(decoder, 16).step(prompt)[-1]
        np.testing.assert_allclose(logits[row], alone, atol=1e-6)
        if decoder.ops.name == "cpu":
            np.testing.assert_array_equal(logits[row], alone)


def test_half_precision_cache_stays_close(decoder):
    exact, half = Stepper(decoder, 16).step(TOKENS), Stepper(decoder, 16, dtype="f16").step(TOKENS)
    assert 0 < np.abs(exact - half).max() < 0.05 * np.abs(exact).max()


def test_the_cpu_backend_gives_the_same_bits_in_chunks(tmp_path):
    decoder = load_weights(write_directory(tmp_path / "m"), backend("cpu"), "float")
    whole = Stepper(decoder, 16).step(TOKENS)
    for size in (1, 3, 8):
        np.testing.assert_array_equal(Stepper(decoder, 16).logits(TOKENS, [size]), whole)
