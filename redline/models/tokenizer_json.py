"""Tokenizers of Hugging Face checkpoints: tokenizer.json, and the settings in the files beside it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer as Backend

from redline.errors import ModelFileError, UnsupportedModel
from redline.models.tokenizer_parts import Spelling, TokenizerParts

SENTENCEPIECE_STEPS = {"Replace", "Metaspace", "ByteFallback", "Fuse", "Strip"}
TOKEN_NAMES = ("bos_token", "eos_token", "unk_token", "pad_token")


def parts_from_dir(path: Path) -> TokenizerParts:
    """Read the tokenizer in the directory `path`.

    Raises ModelFileError when tokenizer.json is missing or broken, UnsupportedModel when it decodes in a
    way that Redline does not know.
    """
    file = path / "tokenizer.json"
    backend = _read_backend(file)
    added = backend.get_added_tokens_decoder()
    settings = _read_json(path / "special_tokens_map.json") | _read_json(path / "tokenizer_config.json")
    tokens = {name: text for name in TOKEN_NAMES if (text := _token_text(settings.get(name)))}
    spelling, strips = _decoding(backend, file)
    prefix_ids, suffix_ids = _around(backend)
    return TokenizerParts(
        backend=backend,
        source=str(file),
        spelling=spelling,
        strips_leading_space=strips,
        spaces_first_only=any(
            step.get("prepend_scheme") == "first" for step in _steps(backend.pre_tokenizer)
        ),
        control={token.content: token_id for token_id, token in added.items() if token.special},
        literal_ids=frozenset(added),
        bos_token_id=backend.token_to_id(tokens["bos_token"]) if "bos_token" in tokens else None,
        eos_token_ids=_eos_token_ids(path, backend, tokens),
        unknown_ids=_unknown_ids(backend, tokens),
        prefix_ids=prefix_ids,
        suffix_ids=suffix_ids,
        chat_template=_chat_template(path, settings),
        template_tokens=tokens,
    )


def _read_backend(file: Path) -> Backend:
    if not file.is_file():
        raise ModelFileError(f"{file} is missing; a checkpoint must have it")
    try:
        backend = Backend.from_file(str(file))
    except Exception as error:  # the library raises bare Exception for every kind of bad file
        raise ModelFileError(f"{file} is not a tokenizer: {error}") from error
    backend.no_padding()
    backend.no_truncation()
    return backend


def _decoding(backend: Backend, file: Path) -> tuple[Spelling, bool]:
    """How tokens spell bytes, and whether decoding takes a leading space away."""
    steps = list(_steps(backend.decoder))
    kinds = {step["type"] for step in steps}
    if "ByteLevel" in kinds and kinds <= {"ByteLevel", "Fuse"}:
        return "byte_level", False
    if kinds & {"Replace", "Metaspace"} and kinds <= SENTENCEPIECE_STEPS:
        return "sentencepiece", any(_strips(step) for step in steps)
    raise UnsupportedModel(
        f"{file}: decoder {sorted(kinds) or None}; supported: ByteLevel, or Replace with ByteFallback"
    )


def _around(backend: Backend) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """What the post-processor puts before and after a prompt."""
    bare, whole = (backend.encode("a", add_special_tokens=add).ids for add in (False, True))
    at = next((at for at in range(len(whole) + 1) if whole[at : at + len(bare)] == bare), 0)
    return tuple(whole[:at]), tuple(whole[at + len(bare) :])


def _unknown_ids(backend: Backend, tokens: Mapping[str, str]) -> frozenset[int]:
    names = {tokens.get("unk_token"), getattr(backend.model, "unk_token", None)} - {None}
    return frozenset(at for name in names if name and (at := backend.token_to_id(name)) is not None)


def _steps(component: Any) -> Iterator[dict[str, Any]]:
    if component is None:
        return
    state = json.loads(component.__getstate__())
    yield from state.get("decoders") or state.get("pretokenizers") or [state]


def _strips(step: Mapping[str, Any]) -> bool:
    if step["type"] == "Metaspace":
        return bool(step.get("prepend_scheme", "always") != "never")
    return step["type"] == "Strip" and bool(step.get("start"))


def _eos_token_ids(path: Path, backend: Backend, tokens: Mapping[str, str]) -> frozenset[int]:
    """Every token that ends an answer: the generation settings know more of them than the tokenizer's."""
    found: set[Any] = {backend.token_to_id(tokens["eos_token"])} if "eos_token" in tokens else set()
    for name in ("generation_config.json", "config.json"):
        value = _read_json(path / name).get("eos_token_id")
        if value is not None:
            found.update(value if isinstance(value, list) else [value])
            break
    found.discard(None)
    for token_id in found:
        if not isinstance(token_id, int) or isinstance(token_id, bool) or token_id < 0:
            raise ModelFileError(f"{path}: eos_token_id holds {token_id!r}; it must be a token id or a list")
    return frozenset(found)


def _chat_template(path: Path, settings: Mapping[str, Any]) -> str | None:
    """chat_template.jinja, else tokenizer_config.json, where it is text or a list of named templates."""
    file = path / "chat_template.jinja"
    if file.is_file():
        return _read_text(file)
    template = settings.get("chat_template")
    if isinstance(template, list):
        named = {entry.get("name"): entry.get("template") for entry in template if isinstance(entry, dict)}
        template = named.get("default")
    if template is not None and not isinstance(template, str):
        raise ModelFileError(f"{path / 'tokenizer_config.json'}: chat_template is not text")
    return template


def _token_text(value: Any) -> str | None:
    """A token of tokenizer_config.json: its text, or an object with the text as "content"."""
    text = value.get("content") if isinstance(value, dict) else value
    return text if isinstance(text, str) else None


def _read_json(file: Path) -> dict[str, Any]:
    """The object in `file`; empty when there is no such file."""
    if not file.is_file():
        return {}
    try:
        value = json.loads(_read_text(file))
    except (ValueError, RecursionError) as error:
        raise ModelFileError(f"{file} is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise ModelFileError(f"{file} holds {type(value).__name__}; it must be an object")
    return value


def _read_text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ModelFileError(f"{file} cannot be read: {error}") from error
