"""The bounds of the techniques f16-kv and int8-kv: what fewer bits in the K/V cache may change."""

from __future__ import annotations

import pytest

from redline.bench.fidelity import compare, teacher_forced
from redline.models.gguf_file import GGUFFile
from redline.models.load_weights import load_weights
from redline.models.tokenizer import Tokenizer
from redline.ops.registry import backend
from tests.model_file import smollm2
from tests.test_fidelity import _token_ids as speech_tokens

SPEECH, NUM_TOKENS = 222, 2048


@pytest.mark.model
@pytest.mark.slow
@pytest.mark.parametrize(
    "baseline, kv_format, least_top1, most_kl", [("f32", "f16", 0.999, 1e-5), ("f16", "int8", 0.97, 1e-3)]
)
def test_a_smaller_cache_stays_within_its_bound(baseline, kv_format, least_top1, most_kl) -> None:
    tokenizer = Tokenizer.from_gguf(GGUFFile(smollm2()).metadata)
    token_ids = speech_tokens(tokenizer, SPEECH, NUM_TOKENS)
    decoder = load_weights(smollm2(), backend("cpu"), "float")  # int8 rounding would drown the effect
    both = zip(
        teacher_forced(decoder, token_ids, baseline),
        teacher_forced(decoder, token_ids, kv_format),
        strict=True,
    )
    fidelity = compare(both)
    print(f"{kv_format} against {baseline}: {fidelity}")
    assert fidelity.num_tokens >= NUM_TOKENS - 1
    assert fidelity.top1_agreement >= least_top1
    assert 0 < fidelity.mean_kl <= most_kl
