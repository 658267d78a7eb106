"""The form of an answer that has to call tools: a JSON schema of a list of calls."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from redline.protocol.tools import Tool

MOST_CALLS = 16  # a model that does not know when to end goes on otherwise


def calls_schema(tools: Sequence[Tool], most: int) -> dict[str, Any]:
    """One to `most` calls of these tools, each an object with "name" and "arguments".

    The parameters of a tool are a definition of its own, so that references in them stay among themselves.
    """
    names = [tool.function.name for tool in tools]
    return {
        "type": "array",
        "minItems": 1,
        "maxItems": most,
        "items": {"anyOf": [_call(name) for name in names]},
        "$defs": {
            name: _moved({**tool.function.parameters, "type": "object"}, f"#/$defs/{name}")
            for name, tool in zip(names, tools, strict=True)
        },
    }


def _call(name: str) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {"name": {"const": name}, "arguments": {"$ref": f"#/$defs/{name}"}},
        "required": ["name", "arguments"],
        "additionalProperties": False,
    }


def _moved(value: Any, root: str) -> Any:
    """The same schema with its local references as they are below `root`."""
    if isinstance(value, list):
        return [_moved(each, root) for each in value]
    if not isinstance(value, dict):
        return value
    moved = {key: _moved(each, root) for key, each in value.items()}
    target = value.get("$ref")
    if isinstance(target, str) and target.startswith("#"):
        moved["$ref"] = root + target[1:]
    return moved
