"""choose(): which parsers read the answers of a model. A format is a file here and a row in a table."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Protocol, TypeVar

from redline.errors import ConfigError
from redline.parsing.answer import AnswerParser
from redline.parsing.hermes import HermesParser
from redline.parsing.json_calls import JSONCallsParser
from redline.parsing.llama3 import Llama3Parser
from redline.parsing.mistral import MistralParser
from redline.parsing.parser import NullParser, Parser
from redline.parsing.think import ThinkParser
from redline.parsing.tool_parser import ToolParser

TOOL_PARSERS: Mapping[str, type[ToolParser]] = {
    parser.name: parser for parser in (HermesParser, Llama3Parser, MistralParser, JSONCallsParser)
}
REASONING_PARSERS: Mapping[str, type[ThinkParser]] = {ThinkParser.name: ThinkParser}
TOOL_CHOICES = ("auto", "none", *TOOL_PARSERS)
REASONING_CHOICES = ("auto", "none", *REASONING_PARSERS)

P = TypeVar("P", type[ToolParser], type[ThinkParser])


class DeclaredFormat(Protocol):
    """What a chat template tells."""

    @property
    def source(self) -> str:
        """Its text."""

    @property
    def reads(self) -> Collection[str]:
        """The variables that it looks at."""


@dataclass(frozen=True, kw_only=True, slots=True)
class OutputFormat:
    """How one model writes down reasoning and tool calls. None: it does not, or nobody wants to know.

    `describes_tools`: its template has no place for them (see `describe_tools`). `reasons` says how each
    "auto" was settled.
    """

    tools: type[ToolParser] | None
    reasoning: type[ThinkParser] | None
    describes_tools: bool = False
    reasons: tuple[str, ...] = ()

    def special_tokens(self, *, with_tools: bool) -> tuple[str, ...]:
        """Control tokens that must stay in the text (`SamplingParams.keep_special_tokens`)."""
        readers = (self.reasoning, self.tools if with_tools else None)
        return tuple(token for reader in readers if reader is not None for token in reader.special_tokens)

    def new_call_id(self) -> str:
        """An id for a call to which the model gave none."""
        return (self.tools or ToolParser).new_call_id()

    def parser(self, tools: Collection[str] = (), prompt: str = "") -> Parser:
        """A parser for one answer, given the names of the offered tools and the end of the prompt's text."""
        calls = self.tools(tools) if self.tools is not None and tools else NullParser()
        if self.reasoning is None:
            return calls
        return AnswerParser(self.reasoning(prompt), calls)


def choose(tool_parser: str, reasoning_parser: str, template: DeclaredFormat | None) -> OutputFormat:
    """The parsers that were asked for by name, or with "auto" those whose tags the chat template shows.

    A template spells the tags that its model was trained on, so this reads what the model itself declares.
    Raises ConfigError for a name that is none.
    """
    source = None if template is None else template.source
    tools, why_tools = _one("tool_call_parser", tool_parser, TOOL_PARSERS, source)
    reasoning, why_reasoning = _one("reasoning_parser", reasoning_parser, REASONING_PARSERS, source)
    reasons = [*why_tools, *why_reasoning]
    describes = tools is not None and template is not None and "tools" not in template.reads
    if describes:
        reasons.append("tools are described in a system message: the chat template has no place for them")
    return OutputFormat(tools=tools, reasoning=reasoning, describes_tools=describes, reasons=tuple(reasons))


def check_parser(option: str, name: object, choices: Collection[str]) -> None:
    """Raises ConfigError unless `name` is one of the choices."""
    if name not in choices:
        raise ConfigError(f"{option} is {name!r}; it must be one of {', '.join(choices)}")


def _one(
    option: str, name: str, parsers: Mapping[str, P], source: str | None
) -> tuple[P | None, tuple[str, ...]]:
    check_parser(option, name, ("auto", "none", *parsers))
    if name != "auto":
        return parsers.get(name), ()
    if source is None:
        return None, (f"{option}=none: the model has no chat template",)
    for known, parser in parsers.items():
        if parser.declared_by(source):
            return parser, (f"{option}={known}: its tags are in the chat template",)
    return None, (f"{option}=none: the chat template shows no tags that are known here",)
