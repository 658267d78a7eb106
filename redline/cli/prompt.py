"""Where a prompt comes from: the command line, or standard input."""

from __future__ import annotations

import sys

from redline.errors import RequestError


def read_prompt(argument: str | None) -> str:
    """The prompt given, or all of stdin when it is absent or "-", less one line break at the end of stdin.

    Raises RequestError when there is none, when it is empty, or when it is not valid UTF-8.
    """
    from_stdin = argument is None or argument == "-"
    text = _read_stdin(argument) if from_stdin else _checked(argument or "")
    if not text:
        raise RequestError("the prompt is empty; send at least one character", param="prompt")
    return text


def _read_stdin(argument: str | None) -> str:
    if argument is None and sys.stdin.isatty():
        raise RequestError('no prompt; for example: redline generate "Why is the sky blue?"', param="prompt")
    data = sys.stdin.buffer.read()
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise RequestError(
            f"standard input is not valid UTF-8 at byte {error.start}", param="prompt"
        ) from None
    return text.removesuffix("\n")


def _checked(text: str) -> str:
    """Bytes of the command line that are not UTF-8 arrive as lone surrogates."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise RequestError(
            f"the prompt is not valid UTF-8 at character {error.start}", param="prompt"
        ) from None
    return text
