"""Tokenizers built from GGUF metadata, against those of transformers and SentencePiece."""

from __future__ import annotations

from inspect import signature

import numpy as np
import pytest
from tokenizers import AddedToken, Regex, decoders, pre_tokenizers
from tokenizers import Tokenizer as Backend
from tokenizers.models import BPE

from redline.errors import ModelFileError, UnsupportedModel
from redline.models.pre_tokenizers import PRE_TOKENIZERS
from redline.models.tokenizer import Tokenizer
from tests.models.vocabularies import (
    CONTROL,
    CONTROL_TOKENS,
    CORPUS,
    NASTY,
    NORMAL,
    UNUSED,
    USER_DEFINED,
    byte_level_metadata,
    byte_level_vocabulary,
    sentencepiece_metadata,
    sentencepiece_model,
)


def _split(pattern):
    return pre_tokenizers.Split(Regex(pattern), "isolated")


def _llama3():
    converter = pytest.importorskip("transformers.convert_slow_tokenizer")
    pattern = signature(converter.TikTokenConverter.__init__).parameters["pattern"].default
    return pre_tokenizers.Sequence([_split(pattern), pre_tokenizers.ByteLevel(False, use_regex=False)])


def _smollm():
    cut = [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(False)]
    return pre_tokenizers.Sequence(cut)


@pytest.mark.oracle
@pytest.mark.parametrize("pre", ["gpt-2", "qwen2", "llama-bpe", "smollm"])
def test_byte_level_equals_transformers(pre):
    transformers = pytest.importorskip("transformers")
    digits = pre == "smollm"
    tokens, merges = byte_level_vocabulary(digits)
    vocab = {token: place for place, token in enumerate(tokens)}
    if pre in ("gpt-2", "qwen2"):
        kind = {"gpt-2": transformers.GPT2Tokenizer, "qwen2": transformers.Qwen2Tokenizer}[pre]
        judge = kind(vocab=vocab, merges=list(merges))
    else:
        backend = Backend(BPE(vocab, list(merges), ignore_merges=pre == "llama-bpe"))
        backend.pre_tokenizer, backend.decoder = (_smollm if digits else _llama3)(), decoders.ByteLevel()
        judge = transformers.PreTrainedTokenizerFast(tokenizer_object=backend)
    judge.add_special_tokens({"additional_special_tokens": [AddedToken(token) for token in CONTROL_TOKENS]})
    ours = Tokenizer.from_gguf(byte_level_metadata(pre, digits))
    for text in (*NASTY, *CORPUS):
        expected = judge.encode(text, add_special_tokens=False)
        assert ours.encode(text, parse_special=True) == expected, text
        assert ours.decode(expected, skip_special_tokens=False) == judge.decode(expected), text


# Words each cut must make; from the published patterns, by hand.
WORDS = {
    "default": ("don't 12345 a,b", ["don", "'", "t", " ", "123", "45", " a", ",", "b"]),
    "falcon": ("a``b 12345", ["a", "``", "b", " ", "123", "45"]),
    "gpt-2": ("don't 12345  a", ["don", "'t", " 12345", " ", " a"]),
    "smollm": ("in 2024  a", ["in", " ", "2", "0", "2", "4", " ", " a"]),
    "llama-bpe": ("DON'T 12345(x)\n\n a", ["DON", "'T", " ", "123", "45", "(x", ")\n\n", " a"]),
    "qwen2": ("DON'T 123 a", ["DON", "'T", " ", "1", "2", "3", " a"]),
    "tekken": ("CamelCase can't 12 a/b", ["Camel", "Case", " can", "'t", " ", "1", "2", " a", "/b"]),
    "gpt-4o": ("CamelCase can't 1234", ["Camel", "Case", " can't", " ", "123", "4"]),
    "deepseek-coder": ("x. = 12\n", ["x", ".", " = ", "1", "2", "\n"]),
    "deepseek-v3": ("x+y 1234 _abc", ["x", "+y", " ", "123", "4", " _", "abc"]),
}


@pytest.mark.parametrize("pre", WORDS)
def test_pre_tokenizer_cuts_words(pre):
    text, words = WORDS[pre]
    cut = PRE_TOKENIZERS[pre].build().pre_tokenize_str(text)
    assert [text[start:end] for _, (start, end) in cut] == words


@pytest.mark.parametrize("pre", PRE_TOKENIZERS)
def test_every_byte_level_kind_returns_the_text(pre):
    tokenizer = Tokenizer.from_gguf(byte_level_metadata(pre))
    for text in (*NASTY, *CORPUS):
        if pre == "qwen2" and "e\u0301" in text:
            continue  # composed on the way in, as the published tokenizer does
        assert tokenizer.decode(tokenizer.encode(text)) == text


@pytest.mark.oracle
@pytest.mark.parametrize("prefix", [True, False])
def test_sentencepiece_equals_the_library(prefix):
    sentencepiece = pytest.importorskip("sentencepiece")
    judge = sentencepiece.SentencePieceProcessor(model_proto=sentencepiece_model("bpe", prefix))
    ours = Tokenizer.from_gguf(sentencepiece_metadata("bpe", prefix))
    for text in (*NASTY, *CORPUS):
        expected = judge.encode(text)
        assert ours.encode(text) == expected, text
        assert ours.decode(expected) == judge.decode(expected), text


@pytest.mark.oracle
@pytest.mark.parametrize("kind, prefix", [("LlamaTokenizer", True), ("GemmaTokenizer", False)])
def test_sentencepiece_equals_transformers(kind, prefix):
    transformers = pytest.importorskip("transformers")
    metadata = sentencepiece_metadata("bpe", prefix)
    tokens, scores = metadata["tokenizer.ggml.tokens"], metadata["tokenizer.ggml.scores"]
    from redline.models.tokenizer_gguf import merges_by_score

    vocab = {token: place for place, token in enumerate(tokens)}
    names = {"unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>"}
    judge = getattr(transformers, kind)(vocab=vocab, merges=merges_by_score(vocab, scores), **names)
    ours = Tokenizer.from_gguf(metadata)
    for text in (*NASTY, *CORPUS):
        if prefix and (text.startswith((" ", "\u2581")) or "<s>" in text):
            continue  # SentencePiece and llama.cpp also put a space before a space, and after control tokens
        expected = judge.encode(text, add_special_tokens=False)
        assert ours.encode(text, parse_special=True) == expected, text


def test_sentencepiece_text_never_becomes_a_control_token():
    pieces = ["<unk>", "<s>", "</s>", "\u2581", "<", "/", "s", ">", "</", "s>", "\u2581</"]
    types = [2, 3, 3] + [1] * 8
    tokenizer = Tokenizer.from_gguf(
        {
            "tokenizer.ggml.model": "llama",
            "tokenizer.ggml.tokens": pieces,
            "tokenizer.ggml.token_type": types,
            "tokenizer.ggml.scores": [0.0] * 3 + [-float(i) for i in range(8)],
            "tokenizer.ggml.add_space_prefix": False,
        }
    )
    assert tokenizer.encode("</s>", add_special_tokens=False) == [8, 9]
    assert tokenizer.encode("</s>", add_special_tokens=False, parse_special=True) == [2]


def test_leading_space_is_added_and_taken_away():
    tokenizer = Tokenizer.from_gguf(sentencepiece_metadata("bpe", prefix=True))
    ids = tokenizer.encode("The fox")
    assert tokenizer.token_bytes(ids[0]).startswith(b" ")
    assert tokenizer.decode(ids) == "The fox"
    assert tokenizer.decode(ids, continuation=True) == " The fox"


def test_beginning_and_end_are_put_around_a_prompt():
    metadata = byte_level_metadata("llama-bpe", add_bos_token=None, add_eos_token=True)
    tokenizer = Tokenizer.from_gguf(metadata)
    assert tokenizer.encode("a") == [1, *tokenizer.encode("a", add_special_tokens=False), 2]
    plain = Tokenizer.from_gguf(byte_level_metadata("gpt-2", add_bos_token=None))
    assert plain.encode("a") == plain.encode("a", add_special_tokens=False)
    spm = sentencepiece_metadata("bpe", True, add_bos_token=None)
    assert Tokenizer.from_gguf(spm).encode("a")[0] == 1


def test_user_defined_tokens_are_found_in_any_text_and_control_tokens_are_not():
    tokens, _ = byte_level_vocabulary()
    types = [CONTROL if token in CONTROL_TOKENS else NORMAL for token in tokens]
    metadata = byte_level_metadata(
        "gpt-2", tokens=[*tokens, "<tool>", "[PAD9]"], token_type=[*types, USER_DEFINED, UNUSED]
    )
    tokenizer = Tokenizer.from_gguf(metadata)
    ids = tokenizer.encode("a<tool>b<|im_end|>")
    assert ids.count(len(tokens)) == 1 and not any(map(tokenizer.is_control, ids))
    assert tokenizer.decode(ids) == "a<tool>b<|im_end|>"
    assert tokenizer.vocab_size == len(tokens) + 2


def test_tokens_that_end_an_answer():
    tokenizer = Tokenizer.from_gguf(byte_level_metadata("gpt-2", eot_token_id=5))
    assert tokenizer.eos_token_ids == {0, 2, 5}  # by name, as eos, as eot
    assert tokenizer.template_tokens == {"bos_token": "<|im_start|>", "eos_token": "<|im_end|>"}


def test_strings_may_be_bytes():
    as_text, as_bytes = byte_level_metadata("gpt-2"), byte_level_metadata("gpt-2")
    for name in ("tokens", "merges"):
        as_bytes[f"tokenizer.ggml.{name}"] = [text.encode() for text in as_text[f"tokenizer.ggml.{name}"]]
    assert Tokenizer.from_gguf(as_bytes).encode(CORPUS[0]) == Tokenizer.from_gguf(as_text).encode(CORPUS[0])


TOKENS = list(byte_level_vocabulary()[0])
BAD = {
    "model missing": dict(model=None),
    "tokens missing": dict(tokens=None),
    "tokens empty": dict(tokens=[]),
    "tokens not a list": dict(tokens="abc"),
    "tokens of numbers": dict(tokens=np.arange(3)),
    "token twice": dict(tokens=[*TOKENS[:-1], TOKENS[5]]),
    "token not UTF-8": dict(tokens=[*TOKENS[:-1], b"\xff"]),
    "merges missing": dict(merges=None),
    "merge of one": dict(merges=["ab"]),
    "merge of unknown tokens": dict(merges=["zq qz"]),
    "merge of numbers": dict(merges=[1, 2]),
    "types too short": dict(token_type=[1, 2]),
    "type unknown": dict(token_type=[7] * len(TOKENS)),
    "type not a number": dict(token_type=["x"] * len(TOKENS)),
    "bos out of range": dict(bos_token_id=len(TOKENS)),
    "eos negative": dict(eos_token_id=-1),
    "eos not whole": dict(eos_token_id=1.5),
    "eos text": dict(eos_token_id="2"),
    "flag a number": dict(add_bos_token=3),
    "pre a number": dict(pre=3),
    "template a number": dict(chat_template=3),
}


@pytest.mark.parametrize("change", BAD.values(), ids=BAD)
def test_bad_metadata_is_refused(change):
    with pytest.raises(ModelFileError):
        Tokenizer.from_gguf(byte_level_metadata(**{"pre": "gpt-2", **change}))


@pytest.mark.parametrize(
    "scores", [None, [1.0], ["a"] * 600, [float("nan")] * 600, "x"], ids=["no", "few", "text", "nan", "str"]
)
def test_bad_scores_are_refused(scores):
    with pytest.raises(ModelFileError, match="scores"):
        Tokenizer.from_gguf(sentencepiece_metadata("bpe", True, scores=scores))


def test_unknown_kinds_are_refused_with_what_is_known():
    with pytest.raises(UnsupportedModel, match="'martian'.*llama-bpe.*qwen2.*smollm"):
        Tokenizer.from_gguf(byte_level_metadata("martian"))
    with pytest.raises(UnsupportedModel, match="'bert'.*gpt2"):
        Tokenizer.from_gguf(byte_level_metadata("gpt-2", model="bert"))
