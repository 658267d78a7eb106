"""Tool calls as plain JSON, for models that were taught no tags: one object, or a list of them.

    {"name": "weather", "arguments": {"city": "Oslo"}}

It is either where the answer begins, or in a fenced block of Markdown.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from redline.parsing.call_object import write_call
from redline.parsing.reader import Steps
from redline.parsing.tool_parser import Call, ToolParser

FENCE = "```"
_LANGUAGE = re.compile(r"[a-z_]+")
MAX_LANGUAGE = 16  # json, tool_call


class JSONCallsParser(ToolParser):
    """JSON is a call when it names an offered tool and has arguments, and is content otherwise."""

    name = "json"

    @classmethod
    def write(cls, calls: Sequence[Call]) -> str:
        written = [write_call(*call) for call in calls]
        return written[0] if len(written) == 1 else f"[{', '.join(written)}]"

    def walk(self) -> Steps[None]:
        yield from self.hold_space()
        if (yield from self.reader.peek()) in ("{", "["):
            yield from self.call_or_content(self._calls())
        while (yield from self.text_before_call(FENCE)):
            if (yield from self.call_or_content(self._fenced(), FENCE)):
                yield from self.optional(FENCE)

    def _fenced(self) -> Steps[bool]:
        yield from self.reader.run(_LANGUAGE, MAX_LANGUAGE)
        yield from self.reader.skip_space()
        return (yield from self._calls())

    def _calls(self) -> Steps[bool]:
        if (yield from self.reader.peek()) == "[":
            return (yield from self.list_of_calls(offered_only=True))
        return (yield from self.call_object(offered_only=True))
