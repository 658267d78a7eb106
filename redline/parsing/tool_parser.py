"""ToolParser: what the formats of tool calls have in common."""

from __future__ import annotations

import secrets
from abc import abstractmethod
from collections.abc import Collection, Mapping, Sequence
from typing import Any, ClassVar

from redline.parsing.call_object import CallObject
from redline.parsing.events import CallArguments, CallStart, Content
from redline.parsing.reader import Steps
from redline.parsing.walk import WalkingParser

Call = tuple[str, Mapping[str, Any]]  # a name, and arguments by their names


class ToolParser(WalkingParser):
    """Finds the calls in an answer. `tools` are the names that the request offered.

    A call that is malformed before its arguments begin is content, in the model's own words. Its arguments
    are streamed as they come, so whether they are valid JSON is, as with OpenAI, for the client to see.

    `name` is what the command line knows a format by, `special_tokens` are those control tokens of its models
    that have to stay in the text for it.
    """

    name: ClassVar[str]
    special_tokens: ClassVar[tuple[str, ...]] = ()

    def __init__(self, tools: Collection[str] = ()) -> None:
        super().__init__()
        self._tools = tools
        self._num_calls = 0

    @classmethod
    def declared_by(cls, template: str) -> bool:
        """Whether a chat template says that its model writes calls like this."""
        return False

    @classmethod
    @abstractmethod
    def write(cls, calls: Sequence[Call]) -> str:
        """The text of these calls in this format."""

    @staticmethod
    def new_call_id() -> str:
        """An id for a call to which the model gave none."""
        return f"call_{secrets.token_hex(12)}"

    # What formats are made of.

    def call_or_content(self, attempt: Steps[bool], tag: str = "") -> Steps[bool]:
        """Walk through `attempt`, before which `tag` was read; True when a call began in it.

        Where it fails, what it read and made nothing of becomes content: the tag too, if no call began.
        """
        num_calls = self._num_calls
        before = self.held_space() + tag
        self.reader.keep()
        succeeded = yield from attempt
        unused = self.reader.kept()
        called = self._num_calls > num_calls
        if not succeeded:
            self.emit(Content(unused if called else before + unused))
        return called

    def text_before_call(self, tag: str) -> Steps[bool]:
        """Give text up to `tag` as content; False when the text ends.

        The last white space of an answer is content only if the answer has no calls.
        """
        if (yield from self.text_before(tag, Content)):
            return True
        space = self.held_space()
        if not self._num_calls:
            self.emit(Content(space))
        return False

    def optional(self, tag: str) -> Steps[None]:
        """Read `tag`, and white space before it, if that is what follows."""
        yield from self.hold_space()
        if (yield from self.reader.literal(tag)):
            self.held_space()

    def hold_space(self) -> Steps[None]:
        """Read white space, which is content only if content follows."""
        self.reader.keep()
        yield from self.reader.skip_space()
        self.space.append(self.reader.kept())

    def list_of_calls(self, *, offered_only: bool = False) -> Steps[bool]:
        """[call, call ...]"""
        self.reader.take()
        while True:
            yield from self.reader.skip_space()
            if not (yield from self.call_object(offered_only=offered_only)):
                return False
            yield from self.reader.skip_space()
            if (yield from self.reader.literal("]")):
                return True
            if not (yield from self.reader.literal(",")):
                return False

    def call_object(self, *, offered_only: bool = False) -> Steps[bool]:
        """{"name": ..., "arguments": {...}} with its keys in any order; others say nothing about the call.

        `offered_only`: it is a call only if it names one of the request's tools and has arguments, for
        formats in which nothing else tells a call from an answer in JSON.
        """
        return (yield from CallObject(self, offered_only=offered_only).read())

    def start(self, name: str, call_id: str | None = None) -> None:
        """A call begins. What was read until here is part of it."""
        self.emit(CallStart(self._num_calls, name, call_id))
        self._num_calls += 1
        self.reader.keep()

    def arguments(self, text: str) -> None:
        """A piece of the arguments of the call that began last."""
        self.emit(CallArguments(self._num_calls - 1, text))
        self.reader.keep()

    def offers(self, name: str) -> bool:
        """Whether the request has a tool of this name."""
        return name in self._tools
