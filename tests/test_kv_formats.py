"""The bounds of the techniques f16-kv to int4-kv: what fewer bits in the K/V cache may change.

A real text of 3,072 tokens is predicted with each format and held against a cache in float32. Its last third
is judged, where every prediction rests on more than 2,048 cached tokens.
"""

from __future__ import annotations

import numpy as np
import pytest

from redline.bench.fidelity import compare, teacher_forced
from redline.models.gguf_file import GGUFFile
from redline.models.load_weights import load_weights
from redline.models.tokenizer import Tokenizer
from redline.ops.registry import backend
from tests.model_file import smollm2
from tests.test_fidelity import _token_ids as speech_tokens

SPEECH, NUM_TOKENS, FIRST_JUDGED = 222, 3072, 2048


@pytest.fixture(scope="module")
def text():
    return speech_tokens(Tokenizer.from_gguf(GGUFFile(smollm2()).metadata), SPEECH, NUM_TOKENS)


@pytest.fixture(scope="module")
def decoder():
    return load_weights(smollm2(), backend("cpu"), "float")  # int8 rounding would drown the effect


@pytest.fixture(scope="module")
def reference(decoder, text):
    """Logits with a float32 cache, computed once for all formats."""
    return list(teacher_forced(decoder, text, "f32", first=FIRST_JUDGED))


@pytest.mark.model
@pytest.mark.slow
@pytest.mark.parametrize(
    "kv_format, least_top1, most_kl",
    [
        ("f16", 0.995, 1e-5),
        ("bf16", 0.985, 1e-4),
        ("int8", 0.97, 1e-3),
        ("fp8", 0.93, 0.01),
        ("int4", 0.85, 0.06),
    ],
)
def test_a_smaller_cache_stays_within_its_bound(
    decoder, text, reference, kv_format, least_top1, most_kl
) -> None:
    logits = teacher_forced(decoder, text, kv_format, first=FIRST_JUDGED)
    fidelity = compare(zip(reference, logits, strict=True))
    print(f"{kv_format} against f32: {fidelity}")
    assert fidelity.num_tokens == NUM_TOKENS - FIRST_JUDGED
    assert fidelity.top1_agreement >= least_top1
    assert 0 < fidelity.mean_kl <= most_kl


@pytest.mark.model
def test_asking_for_the_end_of_a_text_gives_its_end(decoder, text) -> None:
    whole = np.concatenate(list(teacher_forced(decoder, text[:60], "f16", chunk=16)))
    end = np.concatenate(list(teacher_forced(decoder, text[:60], "f16", chunk=16, first=20)))
    assert len(whole) == 60
    np.testing.assert_array_equal(end, whole[20:])
