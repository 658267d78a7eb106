"""How byte-level vocabularies cut text into words before merging: the `tokenizer.ggml.pre` names of GGUF."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tokenizers import Regex
from tokenizers import pre_tokenizers as cut

from redline.errors import UnsupportedModel

_CONTRACTIONS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)"
_LETTERS = r"[^\r\n\p{L}\p{N}]?\p{L}+"
_PUNCTUATION = r" ?[^\s\p{L}\p{N}]+[\r\n]*"
_PUNCTUATION_OR_SLASH = r" ?[^\s\p{L}\p{N}]+[\r\n/]*"
_SPACES = r"\s*[\r\n]+|\s+(?!\S)|\s+"
_UPPER, _LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
_CASED = rf"[^\r\n\p{{L}}\p{{N}}]?{_UPPER}*{_LOWER}+", rf"[^\r\n\p{{L}}\p{{N}}]?{_UPPER}+{_LOWER}*"
_CJK = "[\u4e00-\u9fa5\u0800-\u4e00\uac00-\ud7ff]+"
_CJK_AND_KANA = "[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+"
_ASCII_PUNCTUATION = r"""[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~]"""
_DEEPSEEK_WORDS = (
    rf"{_ASCII_PUNCTUATION}[A-Za-z]+|[^\r\n\p{{L}}\p{{P}}\p{{S}}]?[\p{{L}}\p{{M}}]+"
    rf"| ?[\p{{P}}\p{{S}}]+[\r\n]*|{_SPACES}"
)


@dataclass(frozen=True, slots=True)
class PreTokenizer:
    """One way to cut text. Each pattern in turn splits what the ones before it left in one piece."""

    patterns: tuple[str, ...] = ()
    digits: bool = False  # each digit is a word, before everything else
    gpt2: bool = False  # after the patterns, GPT-2's own cut
    ignore_merges: bool = False  # a word that is in the vocabulary is one token, whatever the merges say
    adds_bos: bool = False  # where the file does not say
    nfc: bool = False  # text is put in Unicode's composed form first

    def build(self) -> Any:
        """The `tokenizers` component, which also turns text into byte-level spelling."""
        steps: list[Any] = [cut.Digits(individual_digits=True)] if self.digits else []
        steps += [cut.Split(Regex(pattern), "isolated") for pattern in self.patterns]
        steps.append(cut.ByteLevel(add_prefix_space=False, use_regex=self.gpt2))
        return cut.Sequence(steps) if len(steps) > 1 else steps[0]


_DEFAULT = PreTokenizer((r"[\p{P}\$\+<=>\^~\|]+", _GPT2, r"\p{N}+", r"[0-9][0-9][0-9]"))
_FALCON = PreTokenizer((r"[\p{P}\$\+<=>\^~\|`]+", _GPT2, r"[0-9][0-9][0-9]"))
_GPT2_WORDS = PreTokenizer(gpt2=True)
_SINGLE_DIGITS = PreTokenizer(digits=True, gpt2=True)
_LLAMA3_WORDS = rf"{_CONTRACTIONS}|{_LETTERS}|\p{{N}}{{1,3}}|{_PUNCTUATION}|{_SPACES}"
_LLAMA3 = PreTokenizer((_LLAMA3_WORDS,), ignore_merges=True, adds_bos=True)
_QWEN2_WORDS = rf"{_CONTRACTIONS}|{_LETTERS}|\p{{N}}|{_PUNCTUATION}|{_SPACES}"
_TEKKEN = PreTokenizer(
    (rf"{_CASED[0]}|{_CASED[1]}|\p{{N}}|{_PUNCTUATION_OR_SLASH}|{_SPACES}",),
    ignore_merges=True,
    adds_bos=True,
)
_GPT4O = PreTokenizer(
    (
        rf"{_CASED[0]}{_CONTRACTIONS}?|{_CASED[1]}{_CONTRACTIONS}?|\p{{N}}{{1,3}}"
        rf"|{_PUNCTUATION_OR_SLASH}|{_SPACES}",
    )
)
_DEEPSEEK_CODER = PreTokenizer((r"[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", _CJK, r"\p{N}"))
_DEEPSEEK_V3 = PreTokenizer((r"\p{N}{1,3}", _CJK_AND_KANA, _DEEPSEEK_WORDS))

_KINDS: dict[PreTokenizer, tuple[str, ...]] = {
    _DEFAULT: ("default",),
    _FALCON: ("falcon",),
    _GPT2_WORDS: ("gpt-2", "mpt", "olmo", "phi-2"),
    _SINGLE_DIGITS: ("codeshell", "command-r", "exaone", "minerva-7b", "refact", "smollm", "starcoder"),
    _LLAMA3: ("falcon3", "lfm2", "llama-bpe", "llama-v3", "llama3", "pixtral"),
    PreTokenizer((_LLAMA3_WORDS,)): ("dbrx", "smaug-bpe"),
    PreTokenizer((_QWEN2_WORDS,), nfc=True): ("qwen2",),
    PreTokenizer((_QWEN2_WORDS,)): ("deepseek-r1-qwen", "hunyuan", "megrez", "stablelm2"),
    _TEKKEN: ("tekken",),
    _GPT4O: ("gpt-4o", "llama4"),
    _DEEPSEEK_CODER: ("deepseek-coder",),
    _DEEPSEEK_V3: ("deepseek-v3",),
}
PRE_TOKENIZERS = {name: kind for kind, names in _KINDS.items() for name in names}


def pre_tokenizer(name: str) -> PreTokenizer:
    """The cut that GGUF calls `name`. Raises UnsupportedModel, listing those that are known."""
    found = PRE_TOKENIZERS.get(name)
    if found is None:
        known = ", ".join(sorted(PRE_TOKENIZERS))
        raise UnsupportedModel(f"tokenizer.ggml.pre is {name!r}; supported: {known}")
    return found
