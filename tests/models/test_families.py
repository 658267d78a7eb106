"""Every family against transformers in float32, from both file formats, on both backends."""

import copy
import json
import re
import shutil

import numpy as np
import pytest

from redline.engine.forward import ReplayForward
from redline.models.load_weights import load_weights
from redline.ops.registry import backend
from redline.ops.unfused import unfused
from tests.models import checkpoints
from tests.models.stepper import Stepper

pytestmark = pytest.mark.oracle

TOKENS = np.random.default_rng(3).integers(0, checkpoints.SHAPE["vocab_size"], 41).tolist()
TOLERANCE = 1e-4


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Paths of the checkpoints, each written once."""
    made = {}

    def path(name, form):
        if (name, form) not in made:
            target = tmp_path_factory.mktemp("model") / (name if form == "safetensors" else f"{name}.gguf")
            save = checkpoints.save_directory if form == "safetensors" else checkpoints.save_gguf
            made[name, form] = save(name, target)
        return made[name, form]

    return path


FORMS = [
    pytest.param(name, form, id=f"{name}-{form}")
    for name, case in checkpoints.CASES.items()
    if name != "llama-blocks"  # its parameters change within a test below
    for form in ("safetensors", "gguf")
    if form == "safetensors" or case.gguf
]


@pytest.mark.parametrize("ops", ["cpu", "reference"])
@pytest.mark.parametrize("name, form", FORMS)
def test_logits_equal_transformers(saved, name, form, ops):
    decoder = load_weights(saved(name, form), backend(ops), "float")
    expected = checkpoints.logits(name, TOKENS)
    assert np.ptp(expected) > 1
    for chunks in ([len(TOKENS)], [13, 1, 1, 9, 1]):
        got = Stepper(decoder, len(TOKENS)).logits(TOKENS, chunks)
        np.testing.assert_allclose(got, expected, atol=TOLERANCE)


@pytest.mark.parametrize("name, form", FORMS)
def test_replayed_steps_have_the_bits_of_the_ops_called_one_by_one(saved, name, form):
    """Each decode step after the first replays a graph."""
    decoder = load_weights(saved(name, form), backend("cpu"), "int8")
    eager = Stepper(decoder, len(TOKENS)).logits(TOKENS, [13, 1])
    stepper = Stepper(decoder, len(TOKENS), forward=ReplayForward)
    np.testing.assert_array_equal(stepper.logits(TOKENS, [13, 1]), eager)
    assert len(stepper.forward._graphs) >= 1


@pytest.mark.parametrize("name, form", FORMS)
def test_fused_ops_have_the_bits_of_separate_ones(saved, name, form):
    logits = []
    for ops in (backend("cpu"), unfused(backend("cpu"))):
        decoder = load_weights(saved(name, form), ops, "int8")
        logits.append(Stepper(decoder, len(TOKENS)).logits(TOKENS, [13, 1]))
    np.testing.assert_array_equal(*logits)


MIXED = {"q_proj": "Q8_0", "k_proj": "Q4_0", "v_proj": "F16", "gate": "Q5_0", "up": "Q5_0", "embed": "BF16"}


@pytest.mark.parametrize("compute, tolerance", [("float", TOLERANCE), ("int8", 0.3)])
def test_projections_of_different_formats_are_merged_side_by_side(tmp_path, compute, tolerance):
    """As in files with a mix of types. Quantised activations cost precision, not more."""
    checkpoints.round_to("llama-blocks", MIXED)
    path = checkpoints.save_gguf("llama-blocks", tmp_path / "mixed.gguf", MIXED)
    decoder = load_weights(path, backend("cpu"), compute)
    weights = [decoder.blocks[0].attention.qkv.weight, decoder.blocks[0].mlp.gate_up.weight]
    assert [weight.format for weight in weights] == ["stacked", "f32" if compute == "float" else "int5"]
    got, expected = Stepper(decoder, len(TOKENS)).step(TOKENS), checkpoints.logits("llama-blocks", TOKENS)
    assert np.abs(got - expected).max() < tolerance * np.ptp(expected)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_checkpoints_keep_their_format(tmp_path, dtype):
    import torch
    import transformers

    copy.deepcopy(checkpoints.model("qwen3")).to(getattr(torch, dtype)).save_pretrained(tmp_path / "half")
    judge = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "half", dtype=torch.float32)
    with torch.no_grad():
        expected = judge.eval()(torch.tensor([TOKENS])).logits[0].numpy()
    decoder = load_weights(tmp_path / "half", backend("cpu"), "int8")
    assert decoder.embedding.format == {"bfloat16": "bf16", "float16": "f16"}[dtype]
    got = Stepper(decoder, len(TOKENS)).step(TOKENS)
    np.testing.assert_allclose(got, expected, atol=5 * TOLERANCE)  # on tiles activations have 16 bits


@pytest.mark.parametrize(
    "name, architecture, beside",
    [
        ("gemma3", "Gemma3ForConditionalGeneration", ["vision_tower.patch", "multi_modal_projector.w"]),
        (
            "gemma3n",
            "Gemma3nForConditionalGeneration",
            [
                "model.vision_tower.conv",
                "model.audio_tower.conv",
                "model.embed_vision.w",
                "model.embed_audio.w",
            ],
        ),
    ],
)
@pytest.mark.parametrize("prefix", ["language_model.model.", "model.language_model."])
def test_the_text_part_of_a_multimodal_checkpoint(saved, tmp_path, name, architecture, beside, prefix):
    """As published: settings of the text in a section, its tensors under a prefix, other parts beside."""
    library = pytest.importorskip("safetensors.numpy")
    plain = saved(name, "safetensors")
    tensors = library.load_file(plain / "model.safetensors")
    tensors = {key.replace("model.", prefix, 1): array for key, array in tensors.items()}
    tensors |= {key: np.ones(3, np.float32) for key in beside}
    config = {"architectures": [architecture], "model_type": name}
    config["text_config"] = json.loads((plain / "config.json").read_text())
    library.save_file(tensors, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps(config))
    decoder = load_weights(tmp_path, backend("cpu"), "float")
    got = Stepper(decoder, len(TOKENS)).step(TOKENS)
    np.testing.assert_allclose(got, checkpoints.logits(name, TOKENS), atol=TOLERANCE)


def test_gemma3n_as_published_keeps_projections_that_no_layer_reads(saved, tmp_path):
    """The layers that share keys and values have projections to them in the file."""
    library = pytest.importorskip("safetensors.numpy")
    plain = saved("gemma3n", "safetensors")
    tensors = library.load_file(plain / "model.safetensors")
    unread = {
        key.replace(".0.", f".{layer}.")
        for layer in (3, 4, 5)
        for key in tensors
        if re.search(r"layers\.0\.self_attn\.[kv]_", key)
    }
    assert len(unread) == 9 and not unread & set(tensors)
    library.save_file(
        tensors | {key: np.ones(3, np.float32) for key in unread}, tmp_path / "model.safetensors"
    )
    shutil.copy(plain / "config.json", tmp_path)
    decoder = load_weights(tmp_path, backend("cpu"), "float")
    got = Stepper(decoder, len(TOKENS)).step(TOKENS)
    np.testing.assert_allclose(got, checkpoints.logits("gemma3n", TOKENS), atol=TOLERANCE)


def test_gemma3n_tokens_without_an_embedding_for_each_layer_are_among_those_compared():
    assert max(TOKENS) >= checkpoints.model("gemma3n").config.vocab_size_per_layer_input


def test_dynamic_scaling_to_the_longest_context(tmp_path):
    """transformers scales to the running length: the same when one pass fills the context that is served."""
    import torch
    import transformers

    heads = dict(num_attention_heads=3, num_key_value_heads=1)
    rope = {"rope_type": "dynamic", "rope_theta": 100.0, "factor": 4.0}
    shape = checkpoints.SHAPE | heads | dict(max_position_embeddings=16, rope_parameters=rope)
    torch.manual_seed(0)
    model = transformers.LlamaForCausalLM(transformers.LlamaConfig(initializer_range=0.3, **shape)).eval()
    model.save_pretrained(tmp_path)
    decoder = load_weights(tmp_path, backend("cpu"), "float")
    assert decoder.spec.max_context == 64
    for length in (12, 40):
        decoder.set_max_context(length)
        tokens = TOKENS[:length]
        with torch.no_grad():
            expected = model(torch.tensor([tokens])).logits[0].numpy()
        np.testing.assert_allclose(Stepper(decoder, 64).step(tokens), expected, atol=TOLERANCE)
