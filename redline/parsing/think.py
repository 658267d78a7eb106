"""Reasoning as Qwen 3, DeepSeek R1 and most others mark it:

<think>What the model says to itself.</think>What it says to the user.
"""

from __future__ import annotations

from typing import ClassVar

from redline.parsing.events import Content, Reasoning
from redline.parsing.reader import Steps
from redline.parsing.walk import WalkingParser

OPEN, CLOSE = "<think>", "</think>"


class ThinkParser(WalkingParser):
    """One block, with which the answer begins; tags later on are content.

    `prompt` is the end of the text before the answer: some templates write the opening tag themselves, and an
    answer that starts inside the block may repeat it. White space around the tags belongs to neither part.
    """

    name: ClassVar[str] = "think"
    special_tokens: ClassVar[tuple[str, ...]] = (OPEN, CLOSE)

    def __init__(self, prompt: str = "") -> None:
        super().__init__()
        self._thinking = self._begun = prompt.rstrip().endswith(OPEN)

    @classmethod
    def declared_by(cls, template: str) -> bool:
        """Whether a chat template knows of such blocks."""
        return OPEN in template or CLOSE in template

    @property
    def thinking(self) -> bool:
        return self._thinking

    def walk(self) -> Steps[None]:
        self.reader.keep()
        yield from self.reader.skip_space()
        space = self.reader.kept()
        if (yield from self.reader.literal(OPEN)) or self._begun:
            yield from self._block()
        else:
            self.emit(Content(space))
        yield from self.rest()

    def _block(self) -> Steps[None]:
        self._thinking = True
        yield from self.reader.skip_space()
        self._thinking = not (yield from self.text_before(CLOSE, Reasoning))
        space = self.held_space()
        if self._thinking:
            self.emit(Reasoning(space))
        else:
            yield from self.reader.skip_space()
