"""The bound of the technique f16-kv: what half precision in the K/V cache may change."""

from __future__ import annotations

from pathlib import Path

import pytest

from redline.bench.fidelity import compare, teacher_forced
from redline.models.gguf_file import GGUFFile
from redline.models.load_weights import load_weights
from redline.models.tokenizer import Tokenizer
from redline.ops.registry import backend
from tests.model_file import smollm2

TEXT = Path(__file__).parent.parent / "docs" / "techniques.md"
NUM_TOKENS = 1024


@pytest.mark.model
@pytest.mark.slow
def test_an_f16_cache_stays_within_its_bound_of_an_f32_cache() -> None:
    tokenizer = Tokenizer.from_gguf(GGUFFile(smollm2()).metadata)
    token_ids = tokenizer.encode(TEXT.read_text())[-NUM_TOKENS:]
    decoder = load_weights(smollm2(), backend("cpu"), "float")  # int8 rounding would drown the effect
    both = zip(
        teacher_forced(decoder, token_ids, "f32"), teacher_forced(decoder, token_ids, "f16"), strict=True
    )
    fidelity = compare(both)
    assert fidelity.num_tokens >= NUM_TOKENS - 1
    assert fidelity.top1_agreement >= 0.999
    assert 0 < fidelity.mean_kl <= 1e-5
