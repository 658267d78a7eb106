"""Models that are wrong or not supported must be refused with a message that names the cause."""

import json

import numpy as np
import pytest

from redline.errors import ConfigError, ModelFileError, ModelNotFound, RedlineError, UnsupportedModel
from redline.models.load_weights import load_weights
from redline.ops.registry import backend
from tests.models.files import gguf_bytes, hf_tensors, llama_metadata, llama_tensors, write_directory

ops = backend("cpu")


def load_gguf(tmp_path, metadata=None, tensors=None):
    path = tmp_path / "model.gguf"
    path.write_bytes(
        gguf_bytes(metadata or llama_metadata(), llama_tensors() if tensors is None else tensors)
    )
    return load_weights(path, ops, "int8")


def changed(tensors, **changes):
    """`tensors` with some replaced; None removes one. Double underscores stand for dots."""
    tensors = tensors | {name.replace("__", "."): array for name, array in changes.items()}
    return {name: array for name, array in tensors.items() if array is not None}


def test_both_formats_give_the_same_shape(tmp_path):
    gguf = load_gguf(tmp_path).spec
    directory = load_weights(write_directory(tmp_path / "m"), ops, "int8").spec
    for name in ("vocab_size", "hidden_size", "num_heads", "num_kv_heads", "head_dim", "max_context"):
        assert getattr(gguf, name) == getattr(directory, name)
    assert gguf.tied_embeddings and directory.tied_embeddings


def test_gguf_files_of_gemma3n_are_refused_with_what_to_take(tmp_path):
    metadata = llama_metadata() | {"general.architecture": "gemma3n"}
    with pytest.raises(UnsupportedModel, match="Gemma 3n are not read yet; take the directory"):
        load_gguf(tmp_path, metadata)


def test_progress_is_heard_up_to_the_last_byte(tmp_path):
    path = tmp_path / "model.gguf"
    path.write_bytes(gguf_bytes(llama_metadata(), llama_tensors()))
    heard = []
    load_weights(path, ops, "int8", lambda done, total: heard.append((done, total)))
    assert [done for done, _ in heard] == sorted(done for done, _ in heard)
    assert heard[-1] == (heard[0][1],) * 2 == (sum(array.nbytes for array in llama_tensors().values()),) * 2


@pytest.mark.parametrize(
    "metadata, message, error",
    [
        (llama_metadata(embedding_length=None), "embedding_length is missing", ModelFileError),
        (llama_metadata(embedding_length=2**31), "embedding_length is 2147483648", ModelFileError),
        (
            llama_metadata(embedding_length="8"),
            "embedding_length is '8'; it must be an integer",
            ModelFileError,
        ),
        (llama_metadata(embedding_length=16), "has shape", ModelFileError),
        (llama_metadata(block_count=3), "blk.2.attn_norm.weight is missing", ModelFileError),
        (llama_metadata(block_count=1), "blk.1.attn_norm.weight", UnsupportedModel),
        (llama_metadata(block_count=2**31), "2147483648 layers", UnsupportedModel),
        (llama_metadata(block_count=0), "0 layers", UnsupportedModel),
        (llama_metadata(attention__head_count=3), "3 query heads|has shape|rotary", RedlineError),
        (llama_metadata(attention__head_count=True), "must be an integer", ModelFileError),
        (llama_metadata(attention__head_count_kv=0), "head_count_kv is 0", ModelFileError),
        (llama_metadata(attention__layer_norm_rms_epsilon=float("nan")), "must be finite", ModelFileError),
        (llama_metadata(attention__layer_norm_rms_epsilon=2.0), "epsilon is 2.0", UnsupportedModel),
        (llama_metadata(rope__freq_base=0.0), "theta is 0.0", UnsupportedModel),
        (llama_metadata(rope__scaling__type="longrope"), "'longrope'", UnsupportedModel),
        (llama_metadata(rope__scaling__factor=4.0), "without a scaling type", UnsupportedModel),
        (llama_metadata(rope__dimension_count=6), "rotary dimension 6 exceeds", UnsupportedModel),
        (llama_metadata(rope__dimension_count=3), "must be even", UnsupportedModel),
        (llama_metadata(expert_count=8), "expert_count is 8", UnsupportedModel),
        (llama_metadata(swin_norm=True), "swin_norm=True", UnsupportedModel),
        (
            llama_metadata() | {"general.architecture": "mamba"},
            "'mamba'; Redline runs llama, ",
            UnsupportedModel,
        ),
        (llama_metadata() | {"general.architecture": 3}, "general.architecture is 3", ModelFileError),
        (llama_metadata() | {"split.count": 2}, "merge", UnsupportedModel),
    ],
)
def test_wrong_metadata_is_refused(tmp_path, metadata, message, error):
    with pytest.raises(error, match=message):
        load_gguf(tmp_path, metadata)


@pytest.mark.parametrize(
    "changes, message, error",
    [
        ({"token_embd__weight": None}, "token_embd.weight is missing", ModelFileError),
        ({"output_norm__weight": None}, "output_norm.weight is missing", ModelFileError),
        ({"blk__1__ffn_up__weight": None}, "blk.1.ffn_up.weight is missing", ModelFileError),
        ({"blk__1__ffn_up__weight": np.ones((8, 12))}, r"ffn_up.weight has shape \(8, 12\)", ModelFileError),
        (
            {"blk__0__attn_norm__weight": np.ones((8, 1))},
            r"attn_norm.weight has shape \(8, 1\)",
            ModelFileError,
        ),
        ({"blk__0__extra__weight": np.ones(3)}, "blk.0.extra.weight", UnsupportedModel),
        ({"rope_freqs__weight": np.zeros(2)}, "rope_freqs.weight must be positive", ModelFileError),
        ({"rope_freqs__weight": np.ones(3)}, r"rope_freqs.weight has shape \(3,\)", ModelFileError),
    ],
)
def test_wrong_tensors_are_refused(tmp_path, changes, message, error):
    with pytest.raises(error, match=message):
        load_gguf(tmp_path, tensors=changed(llama_tensors(), **changes))


@pytest.mark.parametrize(
    "config, message, error",
    [
        ("{", "not valid JSON", ModelFileError),
        ("[]", "expected a JSON object", ModelFileError),
        (b"\xff\xfe\x00", "not valid JSON", ModelFileError),
        ('{"architectures": ["LlamaForCausalLM"], "rope_theta": NaN}', "NaN is not a number", ModelFileError),
        ("[" * 100_000, "not valid JSON", ModelFileError),
        ({"architectures": None}, "architectures is None", ModelFileError),
        ({"architectures": ["A", "B"]}, "it must name one", ModelFileError),
        ({"architectures": ["BertModel"]}, "'BertModel'; Redline runs", UnsupportedModel),
        ({"vocab_size": None}, "vocab_size is missing; it must be an integer", ModelFileError),
        ({"vocab_size": 23.0}, "vocab_size is 23.0; it must be an integer", ModelFileError),
        ({"vocab_size": True}, "vocab_size is True", ModelFileError),
        ({"vocab_size": -1}, "vocab_size is -1", ModelFileError),
        ({"vocab_size": 24}, r"has shape \(23, 8\), expected \(24, 8\)", ModelFileError),
        ({"hidden_size": 10**30}, "hidden_size is 1000", ModelFileError),
        ({"rms_norm_eps": "small"}, "rms_norm_eps is 'small'; it must be a number", ModelFileError),
        ({"num_hidden_layers": 10**12}, "1000000000000 layers", UnsupportedModel),
        ({"hidden_act": "gelu"}, "hidden_act is 'gelu'; supported: None, 'silu'", UnsupportedModel),
        ({"hidden_act": {"a": 1}}, "hidden_act is", UnsupportedModel),
        ({"rope_scaling": "yarn"}, "rope_scaling is 'yarn'; it must be a mapping", ModelFileError),
        ({"rope_scaling": {"rope_type": "longrope"}}, "rope_type is 'longrope'", UnsupportedModel),
        ({"rope_scaling": {"rope_type": "yarn"}}, "factor is missing", ModelFileError),
        ({"rope_scaling": {"type": "linear", "factor": 2, "new": 1}}, "new=1", UnsupportedModel),
        ({"rope_scaling": {"type": "linear", "factor": 0}}, "factor 0", UnsupportedModel),
        ({"quantization_config": {"bits": 4}}, "quantization_config=", UnsupportedModel),
        ({"attention_bias": True}, "q_proj.bias is missing", ModelFileError),
        ({"tie_word_embeddings": False}, "lm_head.weight is missing", ModelFileError),
        ({"head_dim": 6}, "has shape", ModelFileError),
        ({"num_key_value_heads": 2}, "has shape", ModelFileError),
    ],
)
def test_a_wrong_config_is_refused(tmp_path, config, message, error):
    with pytest.raises(error, match=message):
        load_weights(write_directory(tmp_path / "m", config=config), ops, "int8")


def test_an_unknown_tensor_of_a_directory_is_refused(tmp_path):
    path = write_directory(tmp_path / "m", tensors=hf_tensors() | {"model.layers.0.lora.weight": np.ones(2)})
    with pytest.raises(UnsupportedModel, match=r"1 tensors .*model\.layers\.0\.lora\.weight"):
        load_weights(path, ops, "int8")


def test_known_leftovers_are_allowed(tmp_path):
    """A tied matrix stored twice, and the frequencies that old checkpoints carry."""
    tensors = hf_tensors()
    leftovers = {
        "lm_head.weight": tensors["model.embed_tokens.weight"],
        "model.layers.0.self_attn.rotary_emb.inv_freq": np.ones(2),
    }
    load_weights(write_directory(tmp_path / "m", tensors=tensors | leftovers), ops, "int8")


def test_missing_files_are_not_found(tmp_path):
    with pytest.raises(ModelNotFound, match="absent"):
        load_weights(tmp_path / "absent", ops, "int8")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ModelNotFound, match=r"config\.json"):
        load_weights(tmp_path / "empty", ops, "int8")
    path = write_directory(tmp_path / "m")
    (path / "model.safetensors").unlink()
    with pytest.raises(ModelNotFound, match="neither model.safetensors nor"):
        load_weights(path, ops, "int8")


def test_an_unknown_compute_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="compute is 'int3'"):
        load_weights(write_directory(tmp_path / "m"), ops, "int3")


def test_the_two_ways_to_write_rope_mean_the_same(tmp_path):
    """transformers 4 wrote rope_theta and rope_scaling, transformers 5 writes rope_parameters."""
    scaling = {"factor": 4.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
    old = {"rope_theta": 5e5, "rope_scaling": {"rope_type": "llama3", **scaling}}
    older = {"rope_theta": 5e5, "rope_scaling": {"type": "llama3", **scaling}}
    new = {"rope_parameters": {"rope_type": "llama3", "rope_theta": 5e5, **scaling}}
    specs = [
        load_weights(write_directory(tmp_path / str(index), config=config), ops, "int8").spec
        for index, config in enumerate((old, older, new))
    ]
    assert specs[0] == specs[1] == specs[2]
    assert specs[0].ropes[0].kind == "llama3" and specs[0].ropes[0].theta == 5e5


def test_keys_that_change_nothing_are_allowed(tmp_path):
    harmless = {"torch_dtype": "bfloat16", "use_cache": True, "pretraining_tp": 1, "bos_token_id": 1}
    load_weights(write_directory(tmp_path / "m", config=harmless), ops, "int8")
    assert json.loads((tmp_path / "m" / "config.json").read_text())["use_cache"]
