"""Tool calls of Llama 3.1, 3.2 and 3.3: the answer is JSON, several calls are separated by semicolons.

    {"name": "weather", "parameters": {"city": "Oslo"}}
    <|python_tag|>{"name": "weather", "parameters": {"city": "Oslo"}}

Their calls of built-in tools, written as Python, are not read: they stay content.
"""

from __future__ import annotations

from collections.abc import Sequence

from redline.parsing.call_object import write_call
from redline.parsing.reader import Steps
from redline.parsing.tool_parser import Call, ToolParser

TAG = "<|python_tag|>"
JSON_FORM = ("<|start_header_id|>", '"parameters"')  # templates of small models name no tag


class Llama3Parser(ToolParser):
    """Calls at the beginning of the answer or behind the tag.

    Without the tag nothing but the name tells a call from an answer in JSON, so it has to be an offered one.
    """

    name = "llama3_json"
    special_tokens = (TAG,)

    @classmethod
    def declared_by(cls, template: str) -> bool:
        return TAG in template or all(part in template for part in JSON_FORM)

    @classmethod
    def write(cls, calls: Sequence[Call]) -> str:
        return "; ".join(write_call(*call, key="parameters") for call in calls)

    def walk(self) -> Steps[None]:
        yield from self.hold_space()
        if (yield from self.reader.peek()) == "{":
            yield from self.call_or_content(self._calls(offered_only=True))
        while (yield from self.text_before_call(TAG)):
            yield from self.call_or_content(self._calls(offered_only=False), TAG)

    def _calls(self, *, offered_only: bool) -> Steps[bool]:
        while True:
            yield from self.reader.skip_space()
            if not (yield from self.call_object(offered_only=offered_only)):
                return False
            yield from self.reader.skip_space()
            if not (yield from self.reader.literal(";")):
                self.space.append(self.reader.kept())
                return True
