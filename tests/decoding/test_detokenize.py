"""Detokenizer: the parts together are the whole, and no part ends within a character."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from redline.decoding.detokenize import Detokenizer
from redline.models.tokenizer import Tokenizer
from tests.models.vocabularies import CORPUS, NASTY, byte_level_metadata, sentencepiece_metadata


def _tokenizer(kind: str) -> Tokenizer:
    if kind == "byte_level":
        return Tokenizer.from_gguf(byte_level_metadata("llama-bpe"))
    pytest.importorskip("sentencepiece")
    return Tokenizer.from_gguf(sentencepiece_metadata("bpe", prefix=kind == "spaced"))


TOKENIZERS = {kind: _tokenizer(kind) for kind in ("byte_level", "spaced", "unspaced")}
kinds = st.sampled_from(sorted(TOKENIZERS))


def _parts(tokenizer: Tokenizer, ids: list[int], skip: bool = True) -> list[str]:
    detokenizer = Detokenizer(tokenizer, skip_special_tokens=skip)
    return [*map(detokenizer.push, ids), detokenizer.flush()]


@given(kinds, st.lists(st.integers(0, 650)), st.booleans())
def test_parts_together_are_the_decoded_text_whatever_the_ids(kind, ids, skip):
    tokenizer = TOKENIZERS[kind]
    assert "".join(_parts(tokenizer, ids, skip)) == tokenizer.decode(ids, skip, continuation=True)


@given(kinds, st.text(st.characters(exclude_categories=["Cs"])))
def test_no_replacement_character_comes_from_valid_text(kind, text):
    parts = _parts(TOKENIZERS[kind], TOKENIZERS[kind].encode(text))
    assert "".join(parts).count("\ufffd") == text.count("\ufffd")
    assert parts[-1] == ""


@pytest.mark.parametrize("kind", TOKENIZERS)
def test_text_comes_back_in_parts(kind):
    tokenizer = TOKENIZERS[kind]
    for text in (*NASTY, *CORPUS):
        whole = "".join(_parts(tokenizer, tokenizer.encode(text)))
        space = " " if kind == "spaced" and text else ""
        assert whole == (space + text).replace("\u2581", "\u2581" if kind == "byte_level" else " ")


def test_a_character_of_four_tokens_comes_with_the_last():
    tokenizer = TOKENIZERS["unspaced"]
    ids = [tokenizer.token_to_id(f"<0x{byte:02X}>") for byte in "\U0001f600".encode()]
    detokenizer = Detokenizer(tokenizer)
    assert [detokenizer.push(token_id) for token_id in ids] == ["", "", "", "\U0001f600"]


def test_half_a_character_at_the_end_is_one_replacement_character():
    tokenizer = TOKENIZERS["unspaced"]
    ids = [tokenizer.token_to_id(f"<0x{byte:02X}>") for byte in "\U0001f600".encode()[:3]]
    assert _parts(tokenizer, ids) == ["", "", "", "\ufffd"]


def test_control_tokens_are_shown_on_demand():
    tokenizer = TOKENIZERS["byte_level"]
    assert "".join(_parts(tokenizer, [1, 2], skip=True)) == ""
    assert "".join(_parts(tokenizer, [1, 2], skip=False)) == "<|im_start|><|im_end|>"


def test_some_control_tokens_can_be_kept_while_others_are_hidden():
    detokenizer = Detokenizer(TOKENIZERS["byte_level"], keep=[2])
    assert [detokenizer.push(token_id) for token_id in (1, 2, 1)] == ["", "<|im_end|>", ""]
