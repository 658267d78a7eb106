"""Reads a file of API keys: JSON, or one key a line."""

from __future__ import annotations

import json
import logging
import stat
from pathlib import Path
from typing import Any

from redline.errors import ConfigError
from redline.server.keys import ApiKey, digest_of

logger = logging.getLogger("redline.server")

MAX_FILE_BYTES = 2**20
NUMBERS = ("max_requests", "max_queued_tokens", "priority")
OPTIONS = ("name", *NUMBERS)


def read_keys(path: Path) -> list[ApiKey]:
    """The keys of a file, with a warning when other users of the machine can read it.

    As lines: a key, then options as name=alice max_requests=4 max_queued_tokens=8192 priority=1; lines that
    are empty or begin with # say nothing. As JSON: {"keys": [{"key": ..., "name": "alice", ...}]}.

    Raises ConfigError, which names the line or entry and never shows what is in it.
    """
    text = _text(path)
    entries = _json_entries(path, text) if text.lstrip().startswith("{") else _line_entries(path, text)
    if not entries:
        raise ConfigError(f"{path} has no keys; a server without keys is started without a file")
    return [_key(where, entry) for where, entry in entries]


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            mode = path.stat().st_mode
            data = file.read(MAX_FILE_BYTES + 1)
        text = data.decode("utf-8-sig")
    except OSError as error:
        raise ConfigError(f"cannot read the keys in {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path} is not a text in UTF-8; it must be JSON or have one key a line") from None
    if len(data) > MAX_FILE_BYTES:
        raise ConfigError(f"{path} is larger than {MAX_FILE_BYTES} bytes; a file of keys is not")
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        logger.warning("other users may read the keys in %s (mode %04o); chmod 600 it", path, mode & 0o7777)
    return text


def _json_entries(path: Path, text: str) -> list[tuple[str, dict[str, Any]]]:
    try:
        data = json.loads(text)
    except (ValueError, RecursionError):  # the message of the error would quote the file
        raise ConfigError(f"{path} begins with {{ and is not valid JSON") from None
    keys = data.get("keys")
    if data.keys() != {"keys"} or not isinstance(keys, list) or not all(isinstance(k, dict) for k in keys):
        raise ConfigError(f'{path} must be {{"keys": [{{"key": ..., "name": ...}}, ...]}} and nothing else')
    return [(f"{path}, entry {number}", entry) for number, entry in enumerate(keys, 1)]


def _line_entries(path: Path, text: str) -> list[tuple[str, dict[str, Any]]]:
    entries = []
    for number, line in enumerate(text.splitlines(), 1):
        words = line.split()
        if words and not words[0].startswith("#"):
            where = f"{path}, line {number}"
            entries.append((where, {"key": words[0], **_options(where, words[1:])}))
    return entries


def _options(where: str, words: list[str]) -> dict[str, Any]:
    options: dict[str, Any] = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not equals or name not in OPTIONS or name in options:
            raise ConfigError(
                f"{where}: after the key come options, each once: {', '.join(OPTIONS)}, as NAME=VALUE"
            )
        options[name] = _integer(where, name, value) if name in NUMBERS else value
    return options


def _integer(where: str, name: str, value: str) -> int:
    try:
        return int(value[:20])
    except ValueError:
        raise ConfigError(f"{where}: {name} must be an integer") from None


def _key(where: str, entry: dict[str, Any]) -> ApiKey:
    if "key" not in entry or not entry.keys() <= {"key", *OPTIONS}:
        raise ConfigError(f"{where}: an entry has a key and may have {', '.join(OPTIONS)}; nothing else")
    entry = {"name": f"key-{where.rpartition(' ')[2]}", **entry}
    try:
        return ApiKey(digest=digest_of(entry.pop("key"), str(entry["name"])[:64]), **entry)
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from None
