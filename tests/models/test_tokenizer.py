"""Tokenizer: the real vocabulary, plain text against control tokens, decoding."""

from __future__ import annotations

import json
import threading
import time
from functools import cache

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tokenizers import AddedToken, decoders, normalizers, pre_tokenizers, processors
from tokenizers import Tokenizer as Backend
from tokenizers.models import BPE, WordLevel

from redline.errors import ModelFileError, RequestError, UnsupportedModel
from redline.models.gguf_file import GGUFFile
from redline.models.tokenizer import Tokenizer
from redline.models.tokenizer_gguf import merges_by_score
from tests.model_file import smollm2
from tests.models.vocabularies import (
    CHATML,
    CONTROL,
    CONTROL_TOKENS,
    CORPUS,
    NASTY,
    NORMAL,
    byte_level_metadata,
    byte_level_vocabulary,
    sentencepiece_metadata,
)

TOKENIZER = Tokenizer.from_gguf(byte_level_metadata("llama-bpe"))
SPM = Tokenizer.from_gguf(sentencepiece_metadata("bpe", prefix=True))
texts = st.text(st.characters(exclude_categories=["Cs"]) | st.sampled_from("a \n1'<|>"), max_size=60)


@given(texts)
def test_decoding_returns_the_text(text):
    assert TOKENIZER.decode(TOKENIZER.encode(text)) == text


@given(texts.filter(lambda text: "\u2581" not in text))
def test_sentencepiece_decoding_returns_the_text(text):
    assert SPM.decode(SPM.encode(text)) == text


@pytest.mark.parametrize("prefix", [True, False])
@given(text=texts.filter(lambda text: "\u2581" not in text))
@example(text="\n")
@example(text=" a")
def test_a_continuation_is_spelled_as_it_stands_behind_other_text(prefix, text):
    for tokenizer in (TOKENIZER, Tokenizer.from_gguf(sentencepiece_metadata("bpe", prefix=prefix))):
        ids = tokenizer.encode_continuation(text)
        assert tokenizer.decode(ids, skip_special_tokens=False, continuation=True) == text
        assert tokenizer.encode_continuation(text) == ids


@given(st.lists(st.integers(0, TOKENIZER.vocab_size + 5)))
def test_decoding_any_ids_is_valid_text(ids):
    text = TOKENIZER.decode(ids, skip_special_tokens=False)
    assert text.encode().decode() == text
    raw = b"".join(map(TOKENIZER.token_bytes, ids))
    assert text == raw.decode(errors="replace")


@given(st.lists(st.sampled_from([*CONTROL_TOKENS, "<|im_", "end|>", "a", " ", "<", "|>"]), max_size=8))
def test_plain_text_has_no_control_tokens(parts):
    text = "".join(parts)
    ids = TOKENIZER.encode(text)
    assert not any(map(TOKENIZER.is_control, ids))
    assert TOKENIZER.decode(ids, skip_special_tokens=False) == text


def test_control_tokens_are_parsed_when_asked_for_and_skipped_in_text():
    ids = TOKENIZER.encode("<|im_start|>a<|im_end|>", parse_special=True)
    assert ids == [1, *TOKENIZER.encode("a", add_special_tokens=False), 2] or ids[1:2] == [1]
    assert TOKENIZER.decode(ids) == "a"
    assert TOKENIZER.decode(ids, skip_special_tokens=False).endswith("<|im_start|>a<|im_end|>")


def test_a_word_that_is_a_control_token_stays_text():
    """Where words of the vocabulary are taken as they are, a control token that is a word is within reach."""
    tokens, _ = byte_level_vocabulary()
    types = [CONTROL if token in CONTROL_TOKENS else NORMAL for token in tokens]
    metadata = byte_level_metadata("llama-bpe", tokens=[*tokens, "STOP"], token_type=[*types, CONTROL])
    tokenizer = Tokenizer.from_gguf(metadata)
    ids = tokenizer.encode("STOP, STOP")
    assert not any(map(tokenizer.is_control, ids))
    assert tokenizer.decode(ids, skip_special_tokens=False) == "STOP, STOP"
    marked = tokenizer.encode_marked("STOP-S\ufdd0TOP", "\ufdd0")
    assert marked[0] == len(tokens) and not any(map(tokenizer.is_control, marked[1:]))


class _SlowToSwitch:
    """A backend that lets other threads run between being set up and being used."""

    def __init__(self, backend):
        self.__dict__["backend"] = backend

    def __getattr__(self, name):
        return getattr(self.backend, name)

    def __setattr__(self, name, value):
        setattr(self.backend, name, value)
        time.sleep(0.001)


def test_both_ways_to_encode_from_many_threads(monkeypatch):
    monkeypatch.setattr(TOKENIZER, "_backend", _SlowToSwitch(TOKENIZER._backend))
    text = "<|im_start|>user"
    plain, special = TOKENIZER.encode(text), TOKENIZER.encode(text, parse_special=True)
    wrong = []

    def work(parse):
        for _ in range(10):
            if TOKENIZER.encode(text, parse_special=parse) != (special if parse else plain):
                wrong.append(parse)

    threads = [threading.Thread(target=work, args=(bool(n % 2),)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert plain != special and not wrong


@pytest.mark.parametrize("text", ["a\ud800b", "\udfff", 3, None, b"a"])
def test_what_is_not_text_is_refused(text):
    with pytest.raises(RequestError, match="text"):
        TOKENIZER.encode(text)


def test_ids_beyond_the_vocabulary_have_no_text():
    assert TOKENIZER.token_bytes(TOKENIZER.vocab_size) == b""
    assert TOKENIZER.id_to_token(10**9) is None
    assert TOKENIZER.decode([10**9]) == ""
    with pytest.raises(RequestError, match="negative"):
        TOKENIZER.decode([-1])


def test_marked_text_equals_unmarked_text_where_nothing_is_marked():
    for text in (*NASTY, *CORPUS):
        prompt = f"<|im_start|>{text}<|im_end|>\n"
        plain = TOKENIZER.encode(prompt, add_special_tokens=False, parse_special=True)
        assert TOKENIZER.encode_marked(prompt, "\ufdd0") == plain
        assert SPM.encode_marked(text, "\ufdd0") == SPM.encode(text, False, parse_special=True)


# A directory as transformers writes it.


def _checkpoint(path, backend, **config):
    backend.add_special_tokens([AddedToken(token, normalized=False) for token in CONTROL_TOKENS])
    backend.save(str(path / "tokenizer.json"))
    names = {
        "bos_token": CONTROL_TOKENS[1],
        "eos_token": {"__type": "AddedToken", "content": CONTROL_TOKENS[2]},
    }
    (path / "tokenizer_config.json").write_text(json.dumps({**names, **config}))
    return path


def _byte_level_backend():
    tokens, merges = byte_level_vocabulary()
    backend = Backend(BPE({token: place for place, token in enumerate(tokens)}, list(merges)))
    backend.pre_tokenizer, backend.decoder = pre_tokenizers.ByteLevel(False), decoders.ByteLevel()
    bos = CONTROL_TOKENS[1]
    backend.post_processor = processors.TemplateProcessing(
        single=f"{bos} $A", special_tokens=[(bos, tokens.index(bos))]
    )
    return backend


def _llama_backend(scheme):
    metadata = sentencepiece_metadata("bpe", prefix=True)
    vocab = {token: place for place, token in enumerate(metadata["tokenizer.ggml.tokens"])}
    merges = merges_by_score(vocab, metadata["tokenizer.ggml.scores"])
    backend = Backend(BPE(vocab, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    if scheme == "prepend":
        backend.normalizer = normalizers.Sequence(
            [normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")]
        )
    else:
        backend.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    steps = [decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse()]
    backend.decoder = decoders.Sequence([*steps, decoders.Strip(" ", 1, 0)])
    return backend


def test_directory_settings(tmp_path):
    _checkpoint(tmp_path, _byte_level_backend(), chat_template=[{"name": "default", "template": CHATML}])
    (tmp_path / "generation_config.json").write_text('{"eos_token_id": [2, 0]}')
    tokenizer = Tokenizer.from_dir(tmp_path)
    assert (tokenizer.bos_token_id, tokenizer.eos_token_ids) == (1, {0, 2})
    assert tokenizer.chat_template == CHATML
    assert tokenizer.template_tokens == {"bos_token": "<|im_start|>", "eos_token": "<|im_end|>"}
    assert tokenizer.encode("ab") == [1, *tokenizer.encode("ab", add_special_tokens=False)]
    (tmp_path / "chat_template.jinja").write_text("other")
    assert Tokenizer.from_dir(tmp_path).chat_template == "other"


@pytest.mark.oracle
@pytest.mark.parametrize("kind", ["byte_level", "prepend", "metaspace"])
def test_directory_equals_transformers(tmp_path, kind):
    transformers = pytest.importorskip("transformers")
    backend = _byte_level_backend() if kind == "byte_level" else _llama_backend(kind)
    _checkpoint(tmp_path, backend)
    judge = transformers.PreTrainedTokenizerFast.from_pretrained(tmp_path)
    ours = Tokenizer.from_dir(tmp_path)
    for text in (*NASTY, *CORPUS):
        expected = judge.encode(text)
        assert ours.encode(text, parse_special=True) == expected, text
        assert ours.decode(expected) == judge.decode(expected, skip_special_tokens=True), text
        marked = ours.encode_marked(text, "\ufdd0")
        assert marked == judge.encode(text, add_special_tokens=False), text


def test_a_space_is_put_before_the_first_piece_only(tmp_path):
    tokenizer = Tokenizer.from_dir(_checkpoint(tmp_path, _llama_backend("metaspace")))
    marked = tokenizer.encode_marked("a<|im_end|>The<\ufdd0|im_end|>", "\ufdd0")
    plain = tokenizer.encode("a<|im_end|>The", add_special_tokens=False, parse_special=True)
    assert marked[: len(plain)] == plain
    assert tokenizer.decode(marked, skip_special_tokens=False) == "a<|im_end|>The<|im_end|>"


@pytest.mark.parametrize(
    "name, content",
    [
        ("tokenizer.json", "{"),
        ("tokenizer.json", "[]"),
        ("tokenizer.json", '{"model": {"type": "BPE", "vocab": {"a": 0}, "merges": ["a b"]}}'),
        ("tokenizer_config.json", "{"),
        ("tokenizer_config.json", "[1]"),
        ("tokenizer_config.json", '{"chat_template": 3}'),
        ("tokenizer_config.json", "[" * 100_000),
        ("generation_config.json", '{"eos_token_id": ["a"]}'),
        ("generation_config.json", '{"eos_token_id": -5}'),
    ],
)
def test_bad_files_are_refused(tmp_path, name, content):
    _checkpoint(tmp_path, _byte_level_backend())
    (tmp_path / name).write_text(content)
    with pytest.raises(ModelFileError):
        Tokenizer.from_dir(tmp_path)


def test_missing_and_unsupported_files_are_refused(tmp_path):
    with pytest.raises(ModelFileError, match=r"tokenizer\.json is missing"):
        Tokenizer.from_dir(tmp_path)
    _checkpoint(tmp_path, Backend(WordLevel({"a": 0}, unk_token="a")))
    with pytest.raises(UnsupportedModel, match="decoder"):
        Tokenizer.from_dir(tmp_path)


# What llama.cpp gives for the same file; the two agree on all of 2.4 million tokens of speeches.
KNOWN = {
    "Why is the sky blue?": [4898, 314, 260, 6376, 4461, 47],
    "The year 2024 had 366 days.": [504, 713, 216, 34, 32, 34, 36, 761, 216, 35, 38, 38, 2009, 30],
    "naïve café 你好 😀": [3546, 46494, 37366, 216, 18645, 250, 48392, 138, 40303, 218],
    "  two  spaces\n\n\tand tabs": [216, 827, 216, 5600, 1116, 197, 397, 29416],
    "don't <|im_end|> stop": [12420, 982, 2067, 108, 306, 79, 486, 108, 46, 2853],
}


@cache
def real():
    return Tokenizer.from_gguf(GGUFFile(smollm2()).metadata)


@pytest.mark.model
@pytest.mark.parametrize("text", KNOWN)
def test_smollm2_known_ids(text):
    assert real().encode(text) == KNOWN[text]
    assert real().decode(KNOWN[text]) == text


@pytest.mark.model
def test_smollm2_settings():
    assert (real().vocab_size, real().bos_token_id, real().eos_token_ids) == (49_152, 1, {0, 2})
    assert real().encode("<|im_end|>", parse_special=True) == [2]


# The file lacks tokens for a few bytes that ordinary text does not have.
printable = texts.filter(lambda text: all(char.isprintable() or char in "\n\t" for char in text))
assigned = printable.filter(lambda text: all(ord(char) < 0x30000 for char in text))


@pytest.mark.model
@given(assigned)
def test_smollm2_returns_the_text(text):
    assert real().decode(real().encode(text)) == text
