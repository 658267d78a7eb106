from dataclasses import replace

import pytest

from redline.errors import UnsupportedModel
from redline.models.load_weights import load_weights
from redline.models.spec import LayerSpec, ModelSpec, RopeSpec
from redline.ops.registry import backend
from tests.models import checkpoints

ROPE = RopeSpec(rotary_dim=8)
SPEC = ModelSpec(
    architecture="llama",
    vocab_size=50,
    hidden_size=32,
    intermediate_size=48,
    num_heads=4,
    num_kv_heads=2,
    head_dim=8,
    layers=(LayerSpec(rope=ROPE),) * 3,
    max_context=64,
    norm_eps=1e-5,
    attention_scale=8**-0.5,
)


def test_a_token_takes_keys_and_values_of_every_layer():
    assert SPEC.kv_bytes_per_token(2) == 2 * 3 * 2 * 8 * 2


def test_a_layer_that_shares_keys_and_values_adds_none():
    own, shared = LayerSpec(rope=ROPE), LayerSpec(rope=ROPE, kv_owner=1)
    spec = replace(SPEC, qk_norm=True, qkv_bias=True, layers=(own, own, shared))
    assert (spec.kv_owners, spec.num_kv_layers) == ((0, 1, 1), 2)
    assert spec.kv_bytes_per_token(2) == 2 * 2 * 2 * 8 * 2
    unshared = replace(spec, layers=(own, own, own))
    kv_size = 2 * 2 * 8  # outputs of the projections to keys and values
    assert unshared.num_parameters - spec.num_parameters == kv_size * 32 + kv_size + 8


OTHER_ROPE = RopeSpec(rotary_dim=8, theta=5.0)


@pytest.mark.parametrize(
    "layers, message",
    [
        ([{"kv_owner": 0}, {}], "layer 0 reads the K/V cache of layer 0; it must be an earlier layer"),
        ([{"kv_owner": 1}, {}], "layer 0 reads the K/V cache of layer 1"),
        ([{}, {"kv_owner": -1}], "layer 1 reads the K/V cache of layer -1"),
        ([{}, {"kv_owner": 0}, {"kv_owner": 1}], "layer 2 reads .* layer 1, which has none: .* of layer 0"),
        ([{}, {"kv_owner": 0, "window": 4}], r"its rope or its window \(4 and 0 tokens\)"),
        ([{}, {"kv_owner": 0, "rope": OTHER_ROPE}], "its rope or its window"),
    ],
)
def test_layers_that_cannot_share_are_refused(layers, message):
    made = tuple(LayerSpec(**{"rope": ROPE} | fields) for fields in layers)
    with pytest.raises(UnsupportedModel, match=message):
        replace(SPEC, layers=made)


def test_ropes_are_listed_once():
    other = RopeSpec(rotary_dim=8, theta=5.0)
    layers = (LayerSpec(rope=ROPE, window=4), LayerSpec(rope=other), LayerSpec(rope=ROPE))
    assert replace(SPEC, layers=layers).ropes == (ROPE, other)


@pytest.mark.oracle
@pytest.mark.parametrize("name", checkpoints.CASES)
def test_parameters_are_counted_as_transformers_counts_them(name, tmp_path):
    path = checkpoints.save_directory(name, tmp_path / "m")
    spec = load_weights(path, backend("cpu"), "float").spec
    assert spec.num_parameters == checkpoints.model(name).num_parameters()


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"vocab_size": 0}, "vocab_size is 0"),
        ({"hidden_size": 2**40}, "hidden_size is 1099511627776"),
        ({"num_kv_heads": 3}, "4 query heads cannot share 3"),
        ({"norm_eps": 0.0}, "norm epsilon is 0"),
        ({"norm_eps": float("nan")}, "norm epsilon is nan"),
        ({"layers": ()}, "0 layers"),
        ({"head_dim": 6}, "rotary dimension 8 exceeds the head dimension 6"),
    ],
)
def test_contradictions_are_refused(changes, message):
    with pytest.raises(UnsupportedModel, match=message):
        replace(SPEC, **changes)


@pytest.mark.parametrize(
    "fields, message",
    [
        ({"rotary_dim": 7}, "rotary dimension is 7"),
        ({"rotary_dim": 0}, "rotary dimension is 0"),
        ({"theta": 1.0}, "theta is 1.0"),
        ({"factor": 0.0}, "factor 0.0"),
        ({"factor": 1e200}, "factor 1e\\+200"),
        ({"theta": 1e300}, "theta is 1e\\+300"),
        ({"kind": "yarn"}, "needs the original context"),
        ({"kind": "yarn", "original_context": 8, "beta_fast": 0.0}, "beta_fast is 0.0"),
        ({"kind": "yarn", "original_context": 8, "beta_slow": -1.0}, "beta_slow -1.0"),
        ({"kind": "llama3", "original_context": 8, "high_freq_factor": 1.0}, "must exceed low_freq_factor"),
        ({"frequency_divisors": (1.0,)}, "1 rope frequency divisors for 4"),
    ],
)
def test_wrong_ropes_are_refused(fields, message):
    with pytest.raises(UnsupportedModel, match=message):
        RopeSpec(**{"rotary_dim": 8} | fields)
