"""However an answer is cut into pieces, it is read as the same; and reading it costs the same a character."""

import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from redline.parsing.choose import TOOL_PARSERS, choose
from redline.parsing.events import CallArguments, Content, join_neighbours

TOOLS = ("f", "g")
FRAGMENTS = [
    *("<tool_call>", "</tool_call>", "[TOOL_CALLS]", "[ARGS]", "[CALL_ID]", "<|python_tag|>", "```", "json"),
    *("<think>", "</think>", '{"name": "f", "arguments": {"a": 1}}', '{"name": "g", "parameters": {}}'),
    *('{"name":', '"f"', "f", '"arguments"', ":", ",", ";", "{", "}", "[", "]", '"', "\\", '\\"', '{"a": "'),
    *(" ", "\n", "x", "1", "</", "<tool", "\u2003", "\U0001f600"),
]
TEXTS = st.lists(st.sampled_from(FRAGMENTS), max_size=14).map("".join)


@st.composite
def cut_texts(draw):
    text = draw(TEXTS)
    cuts = sorted(draw(st.lists(st.integers(0, len(text)), max_size=8)))
    return [text[start:end] for start, end in zip([0, *cuts], [*cuts, len(text)], strict=True)]


def read(parser, pieces):
    events = [event for piece in pieces for event in parser.push(piece)]
    return join_neighbours([*events, *parser.finish()])


@settings(max_examples=300, deadline=None)
@given(cut_texts(), st.sampled_from(list(TOOL_PARSERS)), st.sampled_from(["none", "think"]), st.booleans())
def test_the_cuts_make_no_difference(pieces, tools, reasoning, begun):
    chosen = choose(tools, reasoning, None)
    prompt = "<think>" if begun else ""
    whole = read(chosen.parser(TOOLS, prompt), ["".join(pieces)])
    assert read(chosen.parser(TOOLS, prompt), pieces) == whole
    assert read(chosen.parser(TOOLS, prompt), list("".join(pieces))) == whole


@settings(max_examples=300, deadline=None)
@given(TEXTS, st.sampled_from(list(TOOL_PARSERS)))
def test_an_answer_without_calls_is_its_content(text, tools):
    events = read(TOOL_PARSERS[tools](TOOLS), [text])
    if all(isinstance(event, Content) for event in events):
        assert "".join(event.text for event in events) == text


@settings(max_examples=300, deadline=None)
@given(TEXTS, st.sampled_from(list(TOOL_PARSERS)))
def test_nothing_is_said_that_the_model_did_not_write(text, tools):
    """Pieces come in the order of the text, and none twice. A call without arguments is given empty ones."""
    at = 0
    for event in read(TOOL_PARSERS[tools](TOOLS), [text]):
        if isinstance(event, Content | CallArguments) and event != CallArguments(
            getattr(event, "index", 0), "{}"
        ):
            at = _follow(text, at, event.text)


def _follow(text, at, said):
    """Where in `text` all characters of `said` have come in their order. Raises ValueError if they do not."""
    for char in said:
        at = text.index(char, at) + 1
    return at


HOSTILE = {
    "tags": "<tool_call>",
    "halves": "<tool_cal",
    "spaces": " \n",
    "calls": '<tool_call>{"name": "f", "arguments": {}}</tool_call>',
    "braces": '<tool_call>{"name": "f", "arguments": {"a":',
    "mistral": '[TOOL_CALLS]f[ARGS]{"a": "',
    "fences": "```json\n[",
    "escapes": "\\\\\\",
    "backticks": "`",
    "semicolons": '{"name": "f", "parameters": {}};',
}


@pytest.mark.parametrize("unit", HOSTILE.values(), ids=HOSTILE)
@pytest.mark.parametrize("name", TOOL_PARSERS)
def test_hostile_answers_cost_no_more_a_character_when_they_are_longer(unit, name):
    steps = [_steps(name, unit * (length // len(unit))) for length in (2_000, 8_000)]
    assert steps[1] <= 4.5 * steps[0] + 1000


def _steps(name, text):
    """Lines of the parsers that run for a text that comes in pieces of three characters."""
    count = 0

    def trace(frame, event, arg):
        nonlocal count
        if "redline/parsing" not in frame.f_code.co_filename:
            return None
        count += 1
        return trace

    parser = TOOL_PARSERS[name](TOOLS)
    sys.settrace(trace)
    try:
        for start in range(0, len(text), 3):
            parser.push(text[start : start + 3])
            assert len(parser.reader._text) < 32, "what is unread is joined to every piece: it must be short"
        parser.finish()
    finally:
        sys.settrace(None)
    return count
