"""Small vocabularies, trained here on a few lines, as GGUF metadata; and text that is hard to tokenise."""

from __future__ import annotations

import io
import json
from functools import cache

import numpy as np
from tokenizers import Tokenizer as Backend
from tokenizers import models, pre_tokenizers, trainers

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = range(1, 7)
CONTROL_TOKENS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] "
    "+ '<|im_end|>' + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)

CORPUS = [
    "The quick brown fox jumps over the lazy dog, and it's not the first time: they've done it before.",
    "Numbers such as 1, 12, 123, 1234 and 3.14159 are everywhere; in 2024 we counted 1,000,000 of them.",
    "def main(argv: list[str]) -> int:\n    for place, word in enumerate(argv):\n        print(word)\n",
    "Les élèves français étaient à l'école; naïve façade, déjà vu.",
    "Der Fluß fließt über die Straße, größer als früher.",
    "私は東京に住んでいます。今日は天気がいいですね。",
    "Привет, мир! Как твои дела сегодня?",
    "مرحبا بالعالم، كيف حالك؟",
    "\tTabs,   runs of spaces,\n\n\nand blank lines.  \r\nWindows too.\r\n",
    "We'll see what I'd say; you're right, she's late, I'm early, they'D shout.",
] * 4

NASTY = [
    "",
    " ",
    "  ",
    "\n",
    "\n\n\n",
    " \n \n",
    "a",
    " a",
    "a ",
    "   three   runs   of   spaces   ",
    "tabs\tand\r\nlines\n\n  indented",
    "it's we'll THEY'RE I'D don'T 'tis ''",
    "1 12 123 1234 12345678 1.5e-10 ½ ² ٣٤ 七",
    "naïve café e\u0301 \u212b \ufb01 ﬀ",  # composed, decomposed and compatibility forms
    "你好，世界！日本語のテキスト 한국어",
    "😀👩‍👩‍👧‍👦🏳️‍🌈 emoji🎉",
    "مرحبا עברית हिन्दी ไทย",
    "\u200b\u200d\ufeff zero\u00a0width\u2028\u2029",
    "\u0378\U0010fffd\ue000",  # unassigned and private
    "\u2581 underline ▁▁ \u2581",
    "<0x0A> <0xff> <s> </s> <unk>",
    "<|im_start|>user<|im_end|> <|im_ <|endoftext|",
    "http://example.com/a/b?c=d&e=f#g [x](y) `code` {json: [1, 2]}",
    "ALLCAPS CamelCase snake_case kebab-case İstanbul ǅ",
    "!!! ??? ... --- *** $$$ %%% ^^^ ~~~ |||",
    "x" * 300,
    "-" * 70 + "\n" * 5 + " " * 70,
]


@cache
def byte_level_vocabulary(digits: bool = False) -> tuple[tuple[str, ...], tuple[tuple[str, str], ...]]:
    """Tokens in the order of their ids, and merges, of a byte-level BPE; the control tokens come first."""
    backend = Backend(models.BPE())
    cut = [pre_tokenizers.Digits(individual_digits=True)] if digits else []
    backend.pre_tokenizer = pre_tokenizers.Sequence([*cut, pre_tokenizers.ByteLevel(add_prefix_space=False)])
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=700, initial_alphabet=alphabet, special_tokens=CONTROL_TOKENS, show_progress=False
    )
    backend.train_from_iterator(CORPUS, trainer)
    model = json.loads(backend.to_str())["model"]
    tokens = sorted(model["vocab"], key=model["vocab"].__getitem__)
    return tuple(tokens), tuple((left, right) for left, right in model["merges"])


def byte_level_metadata(pre: str, digits: bool = False, **changes: object) -> dict[str, object]:
    """GGUF keys of that vocabulary; a change of None leaves the key out."""
    tokens, merges = byte_level_vocabulary(digits)
    metadata = {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": pre,
        "tokenizer.ggml.tokens": list(tokens),
        "tokenizer.ggml.token_type": np.array(
            [CONTROL if t in CONTROL_TOKENS else NORMAL for t in tokens], "i4"
        ),
        "tokenizer.ggml.merges": [f"{left} {right}" for left, right in merges],
        "tokenizer.ggml.bos_token_id": 1,
        "tokenizer.ggml.eos_token_id": 2,
        "tokenizer.ggml.add_bos_token": False,
        "tokenizer.chat_template": CHATML,
    }
    return _changed(metadata, changes)


@cache
def sentencepiece_model(kind: str, prefix: bool) -> bytes:
    """A trained SentencePiece model ("bpe" or "unigram") with byte fallback."""
    import sentencepiece

    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(CORPUS),
        model_writer=model,
        model_type=kind,
        vocab_size={"bpe": 600, "unigram": 420}[kind],
        byte_fallback=True,
        character_coverage=0.98,
        add_dummy_prefix=prefix,
        remove_extra_whitespaces=False,
        normalization_rule_name="identity",
        split_digits=True,
        allow_whitespace_only_pieces=True,
        minloglevel=2,
    )
    return model.getvalue()


def sentencepiece_metadata(kind: str, prefix: bool, **changes: object) -> dict[str, object]:
    """GGUF keys of that model, as the usual converter writes them."""
    import sentencepiece

    spm = sentencepiece.SentencePieceProcessor(model_proto=sentencepiece_model(kind, prefix))
    size = spm.vocab_size()
    types = [
        BYTE if spm.is_byte(i) else UNKNOWN if spm.is_unknown(i) else CONTROL if spm.is_control(i) else NORMAL
        for i in range(size)
    ]
    metadata = {
        "tokenizer.ggml.model": {"bpe": "llama", "unigram": "t5"}[kind],
        "tokenizer.ggml.tokens": [spm.id_to_piece(i) for i in range(size)],
        "tokenizer.ggml.scores": np.array([spm.get_score(i) for i in range(size)], "f4"),
        "tokenizer.ggml.token_type": np.array(types, "i4"),
        "tokenizer.ggml.bos_token_id": np.uint32(1),
        "tokenizer.ggml.eos_token_id": np.uint32(2),
        "tokenizer.ggml.unknown_token_id": np.uint32(0),
        "tokenizer.ggml.add_bos_token": False,
        "tokenizer.ggml.add_space_prefix": prefix,
    }
    return _changed(metadata, changes)


def _changed(metadata: dict[str, object], changes: dict[str, object]) -> dict[str, object]:
    for name, value in changes.items():
        key = "tokenizer.chat_template" if name == "chat_template" else f"tokenizer.ggml.{name}"
        metadata[key] = value
    return {key: value for key, value in metadata.items() if value is not None}
