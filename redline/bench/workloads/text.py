"""Text to ask about: the language reference and the sources that every Python brings along."""

from __future__ import annotations

import importlib.util
import random
import re
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Protocol

from redline.errors import ConfigError

MODULES = (
    "argparse", "ast", "bdb", "calendar", "cmd", "configparser", "csv", "dataclasses", "difflib", "dis",
    "doctest", "enum", "fractions", "ftplib", "functools", "gettext", "hashlib", "heapq", "http.client",
    "http.server", "imaplib", "inspect", "ipaddress", "json.decoder", "logging", "mailbox", "mimetypes",
    "optparse", "pdb", "pickle", "platform", "plistlib", "pydoc", "random", "selectors", "shutil",
    "smtplib", "socket", "socketserver", "statistics", "subprocess", "tarfile", "textwrap", "threading",
    "tokenize", "traceback", "turtle", "unittest.mock", "urllib.parse", "urllib.request", "uuid",
    "wave", "weakref", "xml.dom.minidom", "zipapp",
)  # fmt: skip
CHARACTERS_PER_TOKEN = 4  # of English and code in most vocabularies; only where there is no tokenizer
MOST_CHARACTERS = 12  # of a token on average, when text is cut


class Encoder(Protocol):
    """What a tokenizer must be able to do here."""

    def encode(self, text: str, add_special_tokens: bool = ...) -> list[int]: ...

    def decode(self, token_ids: list[int]) -> str: ...


Cut = Callable[[str, int], str]  # (text, tokens) -> its beginning of about so many tokens


def cut_by(encoder: Encoder | None) -> Cut:
    """Cuts by the tokens of `encoder`; without one by characters, four to a token."""
    if encoder is None:
        return lambda text, tokens: text[: tokens * CHARACTERS_PER_TOKEN]

    def cut(text: str, tokens: int) -> str:
        ids = encoder.encode(text[: tokens * MOST_CHARACTERS], add_special_tokens=False)
        return encoder.decode(ids[:tokens]).rstrip("\N{REPLACEMENT CHARACTER}")

    return cut


class Pages:
    """Text from ever new places of a corpus, so that no two pages begin alike until all places are used."""

    def __init__(self, corpus: str, starts: Sequence[int], cut: Cut, seed: str, skip: int = 0) -> None:
        self._corpus = corpus
        self._cut = cut
        self._starts = list(starts)
        random.Random(seed).shuffle(self._starts)
        self._place = skip

    def next(self, tokens: int) -> str:
        """About `tokens` tokens; a page goes on at the beginning where the corpus ends."""
        start = self._starts[self._place % len(self._starts)]
        self._place += 1
        length = tokens * MOST_CHARACTERS
        text = self._corpus[start : start + length]
        while len(text) < length:
            text += self._corpus[: length - len(text)]
        return self._cut(text, tokens)


@cache
def prose() -> tuple[str, tuple[int, ...]]:
    """Python's language reference as the interpreter's help() shows it, and where its sentences start."""
    try:
        from pydoc_data.topics import topics
    except ImportError:
        raise ConfigError(
            "this Python has no pydoc_data, from which workloads take their text; install its standard "
            "library in full"
        ) from None
    text = "\n\n".join(topics[name].strip() for name in sorted(topics))
    return text, tuple(_starts(r"(?:\n\n|\.\s{1,2})(?=[A-Z])", text))


@cache
def code() -> tuple[str, tuple[int, ...]]:
    """Sources of the standard library, and where their functions and classes start."""
    text = "\n\n".join(_source(name) for name in MODULES)
    return text, tuple(_starts(r"\n\n+ *(?=def |class |@)", text))


def _starts(before: str, text: str) -> list[int]:
    """The places that something matching `before` ends at."""
    return [found.end() for found in re.finditer(before, text)]


def _source(module: str) -> str:
    found = importlib.util.find_spec(module)
    path = None if found is None else found.origin
    if path is None or not path.endswith(".py"):
        raise ConfigError(
            f"this Python has no source of its module {module}, from which workloads take their text; "
            "install its standard library in full"
        )
    return Path(path).read_text(encoding="utf-8").strip()
