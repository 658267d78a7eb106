"""The bytes that a vocabulary entry stands for, in the two spellings that vocabularies use."""

from __future__ import annotations

import re
from functools import cache

SPACE = "\u2581"  # SentencePiece writes a space as this
_BYTE = re.compile(r"<0x([0-9A-Fa-f]{2})>")


@cache
def byte_level_alphabet() -> dict[int, int]:
    """Code point -> the byte it spells (GPT-2: printable Latin-1 as itself, the rest from U+0100 on)."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    return {byte: byte for byte in printable} | {0x100 + place: byte for place, byte in enumerate(others)}


def byte_level_bytes(token: str) -> bytes:
    """The bytes of a byte-level token; a token with a character outside the alphabet stands for itself."""
    spelled = token.translate(byte_level_alphabet())
    try:
        raw = spelled.encode("latin-1")
    except UnicodeEncodeError:
        return token.encode()
    # A character below U+0100 that spells no byte (a plain space) passes the translation unchanged.
    return raw if byte_level_alphabet().keys() >= set(map(ord, token)) else token.encode()


def sentencepiece_bytes(token: str) -> bytes:
    """The bytes of a SentencePiece token: "<0x0A>" is one byte, U+2581 a space."""
    match = _BYTE.fullmatch(token)
    if match:
        return bytes((int(match[1], 16),))
    return token.replace(SPACE, " ").encode()
