"""Tool calls of Hermes 2 and 3, Qwen 2.5 and Qwen 3: JSON in tags.

<tool_call>
{"name": "weather", "arguments": {"city": "Oslo"}}
</tool_call>
"""

from __future__ import annotations

from collections.abc import Sequence

from redline.parsing.call_object import write_call
from redline.parsing.reader import Steps
from redline.parsing.tool_parser import Call, ToolParser

OPEN, CLOSE = "<tool_call>", "</tool_call>"
OTHER_FORMS = ("<function=", "<arg_key>")  # of Qwen3-Coder and GLM, in the same tags


class HermesParser(ToolParser):
    """One call in each pair of tags, text before, between and behind them."""

    name = "hermes"
    special_tokens = (OPEN, CLOSE)

    @classmethod
    def declared_by(cls, template: str) -> bool:
        return OPEN in template and not any(form in template for form in OTHER_FORMS)

    @classmethod
    def write(cls, calls: Sequence[Call]) -> str:
        return "\n".join(f"{OPEN}\n{write_call(*call)}\n{CLOSE}" for call in calls)

    def walk(self) -> Steps[None]:
        while (yield from self.text_before_call(OPEN)):
            if (yield from self.call_or_content(self._call(), OPEN)):
                yield from self.optional(CLOSE)

    def _call(self) -> Steps[bool]:
        yield from self.reader.skip_space()
        return (yield from self.call_object())
