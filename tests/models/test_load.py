"""The embedded model through load_model: tokenizer, template and weights together."""

import numpy as np
import pytest

from redline.errors import ConfigError
from redline.models.load import load_model
from redline.ops.registry import backend
from tests.model_file import smollm2
from tests.models.stepper import Stepper

pytestmark = pytest.mark.model


@pytest.fixture(scope="module")
def model():
    return load_model(smollm2(), backend("cpu"), "int8", max_context=512)


def test_the_parts_belong_together(model):
    spec = model.spec
    assert (spec.num_layers, spec.hidden_size, spec.num_heads, spec.num_kv_heads) == (30, 576, 9, 3)
    assert spec.num_parameters == 134_515_008
    assert model.tokenizer.vocab_size == spec.vocab_size == 49_152
    assert model.max_context == 512
    assert model.chat_template is not None
    assert model.name.startswith("SmolLM2")


def test_it_completes_a_sentence(model):
    prompt = model.tokenizer.encode("The capital of France is")
    stepper, text = Stepper(model.decoder, 64, block_size=16, dtype="f16"), []
    logits = stepper.step(prompt, [len(prompt) - 1])
    for _ in range(8):
        text.append(int(np.argmax(logits[-1])))
        logits = stepper.step(text[-1:])
    assert model.tokenizer.decode(text).startswith(" Paris")


@pytest.mark.parametrize("max_context", [0, -1, 8193])
def test_a_context_the_model_cannot_serve_is_refused(model, max_context):
    with pytest.raises(ConfigError, match=f"max_context is {max_context}; this model serves 1 to 8192"):
        model.set_max_context(max_context)


def test_weights_are_merged_and_stay_packed(model):
    block = model.decoder.blocks[0]
    assert [each.weight.format for each in (block.attention.qkv, block.mlp.gate_up)] == ["int4", "int4"]
    assert block.attention.qkv.weight.num_outputs == (9 + 3 + 3) * 64
    assert model.decoder.output is model.decoder.embedding
