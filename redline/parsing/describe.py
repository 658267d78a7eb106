"""describe_tools(): tools in plain words, for a model whose chat template has no place for them.

The template of such a model shows no format either, so somebody has to have named one for it.
"""

from __future__ import annotations

import json
from typing import Any

from redline.parsing.tool_parser import ToolParser

Messages = list[dict[str, Any]]

EXAMPLE = ("function_name", {"parameter": "value"})


def describe_tools(messages: Messages, tools: list[dict[str, Any]], parser: type[ToolParser]) -> Messages:
    """The same conversation with the tools in its system message, and earlier calls written into content."""
    messages = [_with_calls_as_content(message, parser) for message in messages]
    if not tools:
        return messages
    first = messages[0]
    if first["role"] != "system":
        return [{"role": "system", "content": _description(tools, parser)}, *messages]
    return [{**first, "content": f"{first['content']}\n\n{_description(tools, parser)}"}, *messages[1:]]


def _description(tools: list[dict[str, Any]], parser: type[ToolParser]) -> str:
    functions = "\n".join(json.dumps(tool["function"], ensure_ascii=False) for tool in tools)
    example = parser.write([EXAMPLE])
    return f"You can call these functions:\n{functions}\nTo call one, answer in this form:\n{example}"


def _with_calls_as_content(message: dict[str, Any], parser: type[ToolParser]) -> dict[str, Any]:
    if not message.get("tool_calls"):
        return message
    functions = [call["function"] for call in message["tool_calls"]]
    written = parser.write([(function["name"], function["arguments"]) for function in functions])
    content = f"{message['content']}\n{written}" if message["content"] else written
    return {name: value for name, value in message.items() if name != "tool_calls"} | {"content": content}
