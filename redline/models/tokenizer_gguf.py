"""Tokenizers of GGUF files: a `tokenizers` object built from the `tokenizer.ggml.*` keys."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tokenizers import AddedToken, models, normalizers
from tokenizers import Tokenizer as Backend

from redline.errors import ModelFileError, RedlineError, UnsupportedModel
from redline.models.gguf_vocabulary import CONTROL, KEY, NORMAL, UNKNOWN, UNUSED, USER_DEFINED, GGUFVocabulary
from redline.models.pre_tokenizers import pre_tokenizer
from redline.models.token_bytes import SPACE
from redline.models.tokenizer_parts import Spelling, TokenizerParts

# These end an answer whatever else the file says; llama.cpp goes by the same names.
END_TOKENS = {
    "<|eot_id|>",
    "<|eom_id|>",
    "<|im_end|>",
    "<|end|>",
    "<|endoftext|>",
    "<|end_of_text|>",
    "<EOT>",
}
END_TOKENS |= {"<end_of_turn>", "<\uff5cend\u2581of\u2581sentence\uff5c>"}
TEMPLATE_TOKENS = {"bos_token": "bos", "eos_token": "eos", "unk_token": "unknown", "pad_token": "padding"}


@dataclass(frozen=True, slots=True)
class _Built:
    """What depends on the kind of vocabulary."""

    backend: Backend
    spelling: Spelling
    adds_bos: bool = False  # where the file does not say
    strips_leading_space: bool = False


def parts_from_gguf(metadata: Mapping[str, Any]) -> TokenizerParts:
    """Build the tokenizer that `metadata` describes; arrays may be lists or NumPy arrays, text str or bytes.

    Raises ModelFileError when keys are missing or contradict each other, UnsupportedModel for a kind of
    vocabulary or a pre-tokenizer that Redline does not know.
    """
    builders = {"gpt2": _byte_level, "llama": _sentencepiece}
    kind = metadata.get(KEY + "model")
    if kind is None:
        raise ModelFileError(f"{KEY}model is missing; the file has no tokenizer")
    if not isinstance(kind, str) or kind not in builders:
        raise UnsupportedModel(f"{KEY}model is {kind!r}; supported: {', '.join(sorted(builders))}")
    vocabulary = GGUFVocabulary(metadata)
    try:
        built = builders[kind](vocabulary)
    except RedlineError:
        raise
    except Exception as error:  # the library raises bare Exception for every inconsistency
        raise ModelFileError(f"the arrays of {KEY}* do not fit each other: {error}") from error
    return _parts(vocabulary, built, _chat_template(metadata))


def _parts(vocabulary: GGUFVocabulary, built: _Built, chat_template: str | None) -> TokenizerParts:
    control = _control_tokens(vocabulary)
    literal = set(control.values()) | _add_user_defined(vocabulary, built, control)
    built.backend.add_special_tokens(_added(control, special=True))
    bos, eos = vocabulary.token_id("bos"), vocabulary.token_id("eos")
    ends = {eos, vocabulary.token_id("eot"), vocabulary.token_id("eom")}
    ends |= {control[token] for token in END_TOKENS & control.keys()}
    named = {name: vocabulary.token_id(role) for name, role in TEMPLATE_TOKENS.items()}
    return TokenizerParts(
        backend=built.backend,
        source=KEY + "tokens",
        spelling=built.spelling,
        strips_leading_space=built.strips_leading_space,
        control=control,
        literal_ids=frozenset(literal),
        bos_token_id=bos,
        eos_token_ids=frozenset(end for end in ends if end is not None),
        unknown_ids=frozenset(vocabulary.of_type(UNKNOWN).values()),
        prefix_ids=_around(vocabulary, "bos", built.adds_bos),
        suffix_ids=_around(vocabulary, "eos", default=False),
        chat_template=chat_template,
        template_tokens={name: vocabulary.tokens[at] for name, at in named.items() if at is not None},
    )


def _control_tokens(vocabulary: GGUFVocabulary) -> dict[str, int]:
    """Tokens of the control and unknown types, and those that are control by their name."""
    by_name = {token: vocabulary.ids[token] for token in END_TOKENS & vocabulary.ids.keys()}
    return by_name | vocabulary.of_type(CONTROL, UNKNOWN)


def _add_user_defined(vocabulary: GGUFVocabulary, built: _Built, control: Mapping[str, int]) -> set[int]:
    """Tokens that are recognised in any text; the ids of those whose text stands for itself."""
    tokens = {token: at for token, at in vocabulary.of_type(USER_DEFINED).items() if token not in control}
    built.backend.add_tokens(_added(tokens, special=False))
    return set(tokens.values()) if built.spelling == "byte_level" else set()


def _added(tokens: Iterable[str], *, special: bool) -> list[AddedToken]:
    return [AddedToken(token, special=special, normalized=False) for token in tokens]


def _around(vocabulary: GGUFVocabulary, name: str, default: bool) -> tuple[int, ...]:
    """The token that is put before (bos) or after (eos) a prompt."""
    token_id = vocabulary.token_id(name)
    wanted = vocabulary.flag(f"add_{name}_token", default)
    return (token_id,) if wanted and token_id is not None else ()


def _chat_template(metadata: Mapping[str, Any]) -> str | None:
    template = metadata.get("tokenizer.chat_template")
    if template is not None and not isinstance(template, str):
        raise ModelFileError(f"tokenizer.chat_template is {type(template).__name__}; it must be text")
    return template


def _byte_level(vocabulary: GGUFVocabulary) -> _Built:
    """GPT-2's kind: bytes spelled as printable characters, merged in the order of a list."""
    pre = pre_tokenizer(vocabulary.text("pre") or "default")
    backend = Backend(models.BPE(vocabulary.ids, _merges(vocabulary), ignore_merges=pre.ignore_merges))
    backend.pre_tokenizer = pre.build()
    if pre.nfc:
        backend.normalizer = normalizers.NFC()
    return _Built(backend, "byte_level", adds_bos=pre.adds_bos)


def _merges(vocabulary: GGUFVocabulary) -> list[tuple[str, str]]:
    texts = vocabulary.texts("merges")
    wrong = next((place for place, merge in enumerate(texts) if " " not in merge), None)
    if wrong is not None:
        raise ModelFileError(f"{KEY}merges[{wrong}] is {texts[wrong]!r}; it must be two tokens and a space")
    return [(left, right) for left, _, right in (merge.partition(" ") for merge in texts)]


def _sentencepiece(vocabulary: GGUFVocabulary) -> _Built:
    """SentencePiece's BPE: the pair that makes the piece of the highest score is merged; bytes stand in."""
    # Neither bytes nor control tokens come out of merging: text that spells "</s>" stays text.
    merges = merges_by_score(vocabulary.of_type(NORMAL, UNUSED), vocabulary.scores())
    unknown = next(iter(vocabulary.of_type(UNKNOWN)), None)
    model = models.BPE(vocabulary.ids, merges, unk_token=unknown, fuse_unk=True, byte_fallback=True)
    backend = Backend(model)
    prepends = vocabulary.flag("add_space_prefix", default=True)
    steps: list[Any] = [normalizers.Prepend(SPACE)] if prepends else []
    backend.normalizer = normalizers.Sequence([*steps, normalizers.Replace(" ", SPACE)])
    return _Built(backend, "sentencepiece", adds_bos=True, strips_leading_space=prepends)


def merges_by_score(ids: Mapping[str, int], scores: Sequence[float]) -> list[tuple[str, str]]:
    """The merges that a vocabulary of scored pieces implies, best first.

    Every way to cut a piece into two others is a merge. Those of one piece follow one another, the longer
    left part first, as in the published conversions.
    """
    best_first = sorted(ids, key=lambda piece: -scores[ids[piece]])
    return [
        (piece[:at], piece[at:])
        for piece in best_first
        for at in range(len(piece) - 1, 0, -1)
        if piece[:at] in ids and piece[at:] in ids
    ]
