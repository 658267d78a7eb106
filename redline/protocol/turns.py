"""turns(): what other APIs call a conversation, as the messages of a chat completion."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

Turn = dict[str, Any]


def text_turn(role: str, texts: Iterable[str]) -> Turn:
    """What somebody said, in parts."""
    return {"role": role, "content": [{"type": "text", "text": text} for text in texts]}


def call_turn(call_id: str, name: str, arguments: str) -> Turn:
    """The assistant called a tool; `arguments` is JSON text."""
    function = {"name": name, "arguments": arguments}
    return {
        "role": "assistant",
        "content": [],
        "tool_calls": [{"id": call_id, "type": "function", "function": function}],
    }


def result_turn(call_id: str, text: str) -> Turn:
    """What a tool answered."""
    return {"role": "tool", "tool_call_id": call_id, "content": [{"type": "text", "text": text}]}


def thought_turn(text: str) -> Turn:
    """What the assistant thought."""
    return {"role": "assistant", "content": [], "reasoning": text}


def turns(said: Iterable[Turn]) -> list[Turn]:
    """The same with one message for each role that speaks: who speaks twice in a row has spoken once.

    Each result of a tool stays a message of its own.
    """
    runs: list[list[Turn]] = []
    for turn in said:
        if runs and turn["role"] == runs[-1][0]["role"] != "tool":
            runs[-1].append(turn)
        else:
            runs.append([turn])
    return [_joined(run) for run in runs]


def _joined(run: list[Turn]) -> Turn:
    """One turn of those that follow each other; each is copied once, because there may be very many."""
    joined = {**run[0], "content": [part for turn in run for part in turn["content"]]}
    if calls := [call for turn in run for call in turn.get("tool_calls", ())]:
        joined["tool_calls"] = calls
    if thoughts := [turn["reasoning"] for turn in run if "reasoning" in turn]:
        joined["reasoning"] = "\n".join(thoughts)
    return joined
