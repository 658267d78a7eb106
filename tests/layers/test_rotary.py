import numpy as np
import pytest

from redline.layers.rotary import CHUNK, RotaryTable, frequencies, table_bytes
from redline.models.spec import RopeSpec, yarn_attention_factor
from redline.ops.registry import backend

KINDS = {
    "default": RopeSpec(rotary_dim=16, theta=1e4),
    "linear": RopeSpec(rotary_dim=16, theta=1e4, kind="linear", factor=4.0),
    "dynamic": RopeSpec(rotary_dim=16, theta=1e4, kind="dynamic", factor=4.0, original_context=64),
    "yarn": RopeSpec(
        rotary_dim=16,
        theta=1e4,
        kind="yarn",
        factor=8.0,
        original_context=64,
        attention_factor=yarn_attention_factor(8.0),
    ),
    "llama3": RopeSpec(rotary_dim=16, theta=1e4, kind="llama3", factor=8.0, original_context=64),
}


@pytest.mark.oracle
@pytest.mark.parametrize("kind", ["linear", "dynamic", "yarn", "llama3"])
@pytest.mark.parametrize("length", [48, 200])
def test_frequencies_equal_transformers(kind, length):
    """Dynamic scaling too, when the longest context is the running length."""
    pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

    spec = KINDS[kind]
    rope = {"rope_type": kind, "rope_theta": spec.theta, "factor": spec.factor}
    if kind in ("yarn", "llama3"):
        rope["original_max_position_embeddings"] = 64
    if kind == "llama3":
        rope |= {"low_freq_factor": 1.0, "high_freq_factor": 4.0}
    config = transformers.LlamaConfig(
        hidden_size=32, num_attention_heads=2, max_position_embeddings=64, rope_parameters=rope
    )
    expected, attention_factor = ROPE_INIT_FUNCTIONS[kind](config, "cpu", seq_len=length)
    np.testing.assert_allclose(frequencies(spec, length), expected.numpy(), rtol=1e-6)
    assert spec.attention_factor == pytest.approx(attention_factor)


def test_dynamic_scaling_starts_beyond_the_original_context():
    plain = frequencies(KINDS["default"], 64)
    np.testing.assert_array_equal(frequencies(KINDS["dynamic"], 10), plain)
    np.testing.assert_array_equal(frequencies(KINDS["dynamic"], 64), plain)
    longer = frequencies(KINDS["dynamic"], 65)
    assert longer[0] == plain[0] and (longer[1:] < plain[1:]).all()


def test_divisors_slow_single_pairs():
    divided = RopeSpec(rotary_dim=4, theta=100.0, frequency_divisors=(1.0, 8.0))
    np.testing.assert_allclose(frequencies(divided, 1), [1.0, 0.1 / 8], rtol=1e-6)


def tables(spec, *lengths):
    """The cosines and sines of a table that grew to each of `lengths` in turn."""
    table = RotaryTable(spec, 10_000)
    for length in lengths:
        table.cover(length)
    cos, sin, _, interleaved = table.operands(np.zeros(1, np.int32))
    return cos, sin, interleaved


@pytest.mark.parametrize("spec", KINDS.values(), ids=KINDS)
def test_growing_changes_no_value(spec):
    cos, sin, _ = tables(spec, 3, CHUNK + 1, 5000)
    again = tables(spec, 5000)
    np.testing.assert_array_equal(cos[:5000], again[0][:5000])
    np.testing.assert_array_equal(sin[:5000], again[1][:5000])
    angles = np.arange(5000)[:, None] * frequencies(spec, 10_000).astype(np.float64)
    np.testing.assert_allclose(cos[:5000], spec.attention_factor * np.cos(angles), atol=5e-4)
    np.testing.assert_allclose(sin[:5000], spec.attention_factor * np.sin(angles), atol=5e-4)


def test_the_table_grows_ahead_of_the_positions():
    assert len(tables(KINDS["default"], CHUNK, CHUNK + 1)[0]) >= 2 * CHUNK


def test_the_size_of_a_table_is_known_before_it_is_made():
    for length in (1, CHUNK, CHUNK + 1, 5000):
        cos, sin, _ = tables(KINDS["default"], length)
        assert table_bytes(KINDS["default"], length) == cos.nbytes + sin.nbytes


def test_interleaving_is_passed_on():
    assert tables(RopeSpec(rotary_dim=4, interleaved=True), 1)[2] is True
    assert tables(RopeSpec(rotary_dim=4), 1)[2] is False


@pytest.mark.parametrize("ops", ["cpu", "reference"])
def test_scores_depend_on_the_distance_alone(ops, rng):
    """What rotary embedding is for."""
    table = RotaryTable(KINDS["default"], 64)
    table.cover(64)
    q, k = rng.standard_normal((2, 1, 1, 16)).astype(np.float32)

    def score(query_at, key_at):
        rotated = [
            backend(ops).rope(each, *table.operands(np.array([at], np.int32)))
            for each, at in ((q, query_at), (k, key_at))
        ]
        return (rotated[0] * rotated[1]).sum()

    assert score(9, 4) == pytest.approx(score(45, 40), abs=1e-4)
    assert score(9, 4) != pytest.approx(score(9, 5), abs=1e-2)
