"""Layers that read the keys and values of an earlier one: a Llama of four layers, made so in its spec."""

from dataclasses import replace

import numpy as np
import pytest

from redline.cache.paged import PagedKV
from redline.layers.batch import Batch
from redline.layers.shared_attention import SharedAttention
from redline.models.config_reader import ConfigReader
from redline.models.decoder import Decoder, PreNormBlock
from redline.models.llama import spec_from_hf
from redline.models.safetensors_file import open_safetensors
from redline.models.safetensors_weights import SafetensorsWeights
from redline.ops.registry import Backend, backend
from tests.models.files import HF_CONFIG, hf_tensors, write_directory
from tests.models.stepper import Stepper

TOKENS = [3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5]
NUM_LAYERS = 4
ALTERNATING, YOCO = (None, 0, None, 2), (None, None, 1, 1)  # the owner of each layer
CONFIG = HF_CONFIG | {"num_hidden_layers": NUM_LAYERS}


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    """Random weights of four layers; those that share have projections to keys and values that none reads."""
    tensors, rng = hf_tensors(), np.random.default_rng(11)
    for layer in range(2, NUM_LAYERS):
        for name in [name for name in tensors if ".0." in name]:
            tensors[name.replace(".0.", f".{layer}.")] = rng.standard_normal(tensors[name].shape)
    return write_directory(tmp_path_factory.mktemp("m") / "m", config=CONFIG, tensors=tensors)


def load(directory, owners, ops):
    plain = spec_from_hf(ConfigReader(CONFIG, "config.json"))
    layers = [replace(layer, kv_owner=owner) for layer, owner in zip(plain.layers, owners, strict=True)]
    weights = SafetensorsWeights(directory, open_safetensors(directory), "float")
    for layer in [layer for layer, owner in enumerate(owners) if owner is not None]:
        weights.ignore(f"blk.{layer}.attn_k.weight")
        weights.ignore(f"blk.{layer}.attn_v.weight")
    return Decoder(replace(plain, layers=tuple(layers)), weights, PreNormBlock, ops)


class Copying:
    """A block that shares, given a copy of what its owner has; the other layers have nothing meanwhile."""

    def __init__(self, block, layer):
        self.block = block
        self.layer = layer
        self.owner = block.attention.owner
        block.attention = replace(block.attention, owner=layer)

    def __call__(self, ops, x_TD, batch, kv, rows_R):
        before = [[array.copy() for array in arrays] for arrays in (kv.k, kv.v)]
        for arrays, old in zip((kv.k, kv.v), before, strict=True):
            for layer, array in enumerate(arrays):
                array[:] = old[self.owner] if layer == self.layer else 0
        x_TD = self.block(ops, x_TD, batch, kv, rows_R)
        for arrays, old in zip((kv.k, kv.v), before, strict=True):
            for array, values in zip(arrays, old, strict=True):
                array[:] = values
        return x_TD


@pytest.mark.parametrize("dtype", ["f32", "f16", "int8"])
@pytest.mark.parametrize("owners", [ALTERNATING, YOCO])
@pytest.mark.parametrize("ops", ["cpu", "reference"])
def test_answers_are_those_of_copies_from_half_the_cache(directory, owners, ops, dtype):
    decoder = load(directory, owners, backend(ops))
    sharing = Stepper(decoder, 16, dtype=dtype)
    got = sharing.logits(TOKENS, [5, 1, 3, 1])
    spec = decoder.spec
    decoder.blocks = [
        Copying(block, layer) if isinstance(block.attention, SharedAttention) else block
        for layer, block in enumerate(decoder.blocks)
    ]
    copying = Stepper(decoder, 16, dtype=dtype)
    copying.kv = PagedKV([0] * NUM_LAYERS, [4], 4, spec.num_kv_heads, spec.head_dim, dtype)
    copying.forward._kv = copying.kv
    np.testing.assert_array_equal(copying.logits(TOKENS, [5, 1, 3, 1]), got)
    assert 2 * sharing.kv.nbytes == copying.kv.nbytes
    assert spec.num_kv_layers == 2 and 2 * spec.kv_bytes_per_token(4) == (
        load(directory, (None,) * NUM_LAYERS, backend(ops)).spec.kv_bytes_per_token(4)
    )


def test_a_sharing_layer_computes_another_thing_than_one_with_a_cache(directory):
    """Or the comparison with copies would hold for a layer that reads nothing."""
    ops = backend("cpu")
    results = [
        Stepper(load(directory, owners, ops), 16).step(TOKENS)
        for owners in [ALTERNATING, YOCO, (None, None, 0, 0), (None,) * NUM_LAYERS]
    ]
    for index, one in enumerate(results):
        for other in results[:index]:
            assert np.abs(one - other).max() > 0.01 * np.abs(one).max()


class Counting(Backend):
    """The CPU backend, keeping the number of query rows of each attention."""

    def __init__(self):
        super().__init__(**vars(backend("cpu")))
        self.rows = []
        for name in ("attention", "rope_attention"):
            setattr(self, name, self._counted(getattr(backend("cpu"), name)))

    def _counted(self, function):
        def call(q_THD, *operands):
            self.rows.append(len(q_THD))
            return function(q_THD, *operands)

        return call


def two_sequences(spec, logit_rows):
    """Prompts of 11 and 5 tokens."""
    prompts, tables = [TOKENS, TOKENS[2:7]], [[5, 0, 3], [2, 4, 0]]
    positions = [np.arange(len(prompt)) for prompt in prompts]
    slots = [np.array(table)[p // 4] * 4 + p % 4 for table, p in zip(tables, positions, strict=True)]
    return Batch(
        token_ids_T=np.concatenate(prompts).astype(np.int32),
        positions_T=np.concatenate(positions).astype(np.int32),
        slots_GT=(np.concatenate(slots).astype(np.int32),),
        block_tables_GSB=(np.array(tables, np.int32),),
        query_start_S1=np.array([0, 11, 16], np.int32),
        context_lens_S=np.array([11, 5], np.int32),
        logit_rows_R=np.array(logit_rows, np.int32),
    )


@pytest.mark.parametrize("owners, layers_of_all", [(YOCO, 2), (ALTERNATING, 3)])
@pytest.mark.parametrize("rows", [[10, 15], [15, 0, 4, 11], []])
def test_behind_the_last_stored_keys_only_wanted_rows_are_computed(directory, owners, layers_of_all, rows):
    ops = Counting()
    decoder = load(directory, owners, ops)
    spec = decoder.spec
    logits = []
    for wanted in (range(16), rows):
        ops.rows.clear()
        kv = PagedKV([0] * NUM_LAYERS, [6], 4, spec.num_kv_heads, spec.head_dim, "f32", spec.kv_owners)
        logits.append(decoder.forward(two_sequences(spec, wanted), kv))
    assert ops.rows == [16] * layers_of_all + [max(len(rows), 1)] * (NUM_LAYERS - layers_of_all)
    np.testing.assert_array_equal(logits[1], logits[0][rows])


def test_a_chunk_needs_only_its_last_row_of_the_layers_that_share(directory):
    ops = Counting()
    decoder = load(directory, YOCO, ops)
    whole = Stepper(decoder, 16).step(TOKENS)
    stepper = Stepper(decoder, 16)
    stepper.step(TOKENS[:7], [])
    ops.rows.clear()
    np.testing.assert_array_equal(stepper.step(TOKENS[7:], [3]), whole[10:])
    assert ops.rows == [4, 4, 1, 1]
