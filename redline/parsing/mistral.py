"""Tool calls of Mistral's models, as a list of all calls, or since version 11 of their tokenizer one by one.

[TOOL_CALLS][{"name": "weather", "arguments": {"city": "Oslo"}}]
[TOOL_CALLS]weather[ARGS]{"city": "Oslo"}
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence

from redline.parsing.call_object import MAX_NAME, NAME, write_call
from redline.parsing.json_text import read_value
from redline.parsing.reader import Steps
from redline.parsing.tool_parser import Call, ToolParser

CALLS, CALL_ID, ARGS = "[TOOL_CALLS]", "[CALL_ID]", "[ARGS]"


class MistralParser(ToolParser):
    """Text before the first call; `[CALL_ID]` and an id may stand before `[ARGS]`."""

    name = "mistral"
    special_tokens = (CALLS, CALL_ID, ARGS)

    @classmethod
    def declared_by(cls, template: str) -> bool:
        return CALLS in template

    @staticmethod
    def new_call_id() -> str:
        """Their templates accept nine letters or digits and nothing else."""
        return secrets.token_hex(5)[:9]

    @classmethod
    def write(cls, calls: Sequence[Call]) -> str:
        return f"{CALLS}[{', '.join(write_call(*call) for call in calls)}]"

    def walk(self) -> Steps[None]:
        while (yield from self.text_before_call(CALLS)):
            yield from self.call_or_content(self._calls(), CALLS)

    def _calls(self) -> Steps[bool]:
        yield from self.reader.skip_space()
        if (yield from self.reader.peek()) == "[":
            return (yield from self.list_of_calls())
        return (yield from self._named_call())

    def _named_call(self) -> Steps[bool]:
        name = yield from self.reader.run(NAME, MAX_NAME)
        call_id = None
        if (yield from self.reader.literal(CALL_ID)):
            call_id = yield from self.reader.run(NAME, MAX_NAME)
        yield from self.reader.literal(ARGS)
        yield from self.reader.skip_space()
        if not name or (yield from self.reader.peek()) != "{":
            return False
        self.start(name, call_id)
        return (yield from read_value(self.reader, self.arguments))
