"""Each format read whole, and the answers that only look like it."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from redline.parsing.choose import REASONING_PARSERS, TOOL_PARSERS, OutputFormat, choose
from redline.parsing.events import CallArguments, CallStart, Content, Reasoning, join_neighbours

TOOLS = ("weather", "now")


def read(parser, text):
    return join_neighbours([*parser.push(text), *parser.finish()])


def calls(name, text):
    """What a tool parser finds: content as text, calls as (name, arguments)."""
    found = []
    for event in read(TOOL_PARSERS[name](TOOLS), text):
        match event:
            case Content(text):
                found.append(text)
            case CallStart(index, called):
                assert index == sum(isinstance(entry, tuple) for entry in found)
                found.append((called, ""))
            case CallArguments(index, text):
                assert isinstance(found[-1], tuple)
                found[-1] = (found[-1][0], found[-1][1] + text)
    return found


OSLO = '{"city": "Oslo", "days": [1, {"a": "}\\"]<\\\\"}]}'
WEATHER = f'{{"name": "weather", "arguments": {OSLO}}}'
NOW = '{"name": "now", "parameters": {}}'
BOTH = [("weather", OSLO), ("now", "{}")]


@pytest.mark.parametrize(
    "name, text",
    [
        ("hermes", f"<tool_call>\n{WEATHER}\n</tool_call>\n<tool_call>\n{NOW}\n</tool_call>\n"),
        ("hermes", f"<tool_call>{WEATHER}</tool_call><tool_call>{NOW}"),
        ("hermes", f"\n<tool_call>{WEATHER[:-1]}</tool_call><tool_call> {NOW}"),
        ("llama3_json", f"{WEATHER}; {NOW}"),
        ("llama3_json", f"\n<|python_tag|>{WEATHER};{NOW}"),
        ("llama3_json", f"<|python_tag|>{WEATHER}\n<|python_tag|>{NOW}"),
        ("mistral", f"[TOOL_CALLS] [{WEATHER}, {NOW}]"),
        ("mistral", f"[TOOL_CALLS]weather[ARGS]{OSLO}[TOOL_CALLS]now[CALL_ID]a1[ARGS]{{}}"),
        ("mistral", f"[TOOL_CALLS]weather{OSLO}[TOOL_CALLS]now {{}}"),
        ("json", f"[{WEATHER},\n{NOW}]"),
        ("json", f"```json\n{WEATHER}\n```\n\n```\n{NOW}\n```"),
    ],
)
def test_two_calls_and_nothing_else(name, text):
    assert calls(name, text) == BOTH


@pytest.mark.parametrize(
    "name, text",
    [
        ("hermes", f"Let me see.\n<tool_call>{WEATHER}</tool_call>\nWait."),
        ("llama3_json", f"Let me see.\n<|python_tag|>{WEATHER}\nWait."),
        ("mistral", f"Let me see.\n[TOOL_CALLS][{WEATHER}]\nWait."),
        ("json", f"Let me see.\n```json\n{WEATHER}\n```\nWait."),
    ],
)
def test_text_around_a_call_is_content(name, text):
    assert calls(name, text) == ["Let me see.", ("weather", OSLO), "\nWait."]


@pytest.mark.parametrize(
    "name, text",
    [
        ("hermes", "<tool_call>"),
        ("hermes", "a <tool_call> b </tool_call> c \n"),
        ("hermes", "a \n <tool_call>[1]"),
        ("hermes", '<tool_call>{"name": "f g", "arguments": {}}</tool_call>'),
        ("hermes", '<tool_call>{"name": "\\ud800", "arguments": {}}</tool_call>'),
        ("hermes", '<tool_call>{"name": "' + "f" * 65 + '", "arguments": {}}</tool_call>'),
        ("hermes", '<tool_call>{"name": "f", "arguments": [1]}</tool_call>'),
        ("hermes", '<tool_call>{"name": "f", "arguments"'),
        ("hermes", '<tool_call>{"name": "f" "arguments": {}}</tool_call>'),
        ("hermes", '<tool_call>{"arguments": {}}</tool_call>'),
        ("hermes", '<tool_call>{"arguments": {"a": 1, "name": "f"}</tool_call>'),
        ("hermes", '<tool_call>{"a": ' + "[" * 200 + "]" * 200 + ', "name": "f"}</tool_call>'),
        ("hermes", "< tool_call>, <tool_cal>, <<tool_call"),
        ("llama3_json", '{"name": "Bob", "parameters": {"age": 5}}'),
        ("llama3_json", '{"name": "weather"}'),
        ("llama3_json", '<|python_tag|>weather.call(city="Oslo")'),
        ("llama3_json", " <b>"),
        ("mistral", "[TOOL_CALLS]"),
        ("mistral", "[TOOL_CALLS] [1]"),
        ("mistral", "[TOOL_CALLS]weather[ARG]{}"),
        ("mistral", "[TOOL_CALLS]weather[CALL_IT]{}"),
        ("mistral", '[TOOL_CALLS]weather[ARGS]"x"'),
        ("mistral", "[TOOL_CALLS]{}"),
        ("mistral", "[TOOL_CALLS]weather[CALL_ID]"),
        ("json", '[{"name": "Bob", "arguments": {}}]'),
        ("json", '{"name": "weather", "city": "Oslo"}'),
        ("json", '```python\nprint("x")\n```'),
        ("json", "[1, 2] and ``` and `` and `"),
        *(
            (name, text)
            for name in TOOL_PARSERS
            for text in ("", " \n", "\n plain. \n", "{", "[", "{}", "\u2028")
        ),
    ],
)
def test_what_is_no_call_is_content_to_the_last_character(name, text):
    assert calls(name, text) == ([text] if text else [])


@pytest.mark.parametrize(
    "text, expected",
    [
        ('{"name": "f", "arguments": {"a": "b', [("f", '{"a": "b')]),
        ('{"name": "f", "arguments": {"a": tru}}', [("f", '{"a": tru}')]),
        ('{"name": "f", "arguments": {"a": ]}} x', [("f", '{"a": '), "]}} x"]),
        ('{"name": "f", "arguments": {}, oops}', [("f", "{}"), ", oops}"]),
        ('{"name": "f"}', [("f", "{}")]),
        ('{"name": "f"}<tool_call>{"name": "g"}', [("f", "{}"), ("g", "{}")]),
        ('{"type": "function", "id": 5, "name": "f", "x": [{}]}', [("f", "{}")]),
        ('{"arguments": {"a": 1}, "name": "f"}', [("f", '{"a": 1}')]),
        ('{"name": "f", "arguments": {"a":  1 }, "b": 2}', [("f", '{"a":  1 }')]),
    ],
)
def test_arguments_are_as_they_were_written_and_what_breaks_behind_them_is_content(text, expected):
    assert calls("hermes", f"<tool_call>{text}") == expected


@pytest.mark.parametrize(
    "name, text, rest",
    [
        ("llama3_json", f"{NOW} ; [5]", " ; [5]"),
        ("hermes", f"<tool_call>{NOW} </tool_cal", " </tool_cal"),
        ("mistral", "[TOOL_CALLS]now{}[TOOL_CALLS]now[TOOL_CALLS]", "[TOOL_CALLS]now[TOOL_CALLS]"),
        ("llama3_json", f'{NOW};{{"name": "Bob"}}', ';{"name": "Bob"}'),
        ("mistral", f"[TOOL_CALLS][{NOW}, 5]", ", 5]"),
        ("json", f"[{NOW}, 5]", ", 5]"),
    ],
)
def test_what_follows_a_call_and_is_none_is_content(name, text, rest):
    assert calls(name, text) == [("now", "{}"), rest]


def test_code_and_deep_nesting_in_arguments_stay_text():
    deep = '{"a": ' * 100 + "{}" + "}" * 100
    code = '{"a": "__import__(\'os\').abort()", "b": ' + "9" * 10_000 + "}"
    for arguments in (deep, code):
        assert calls("hermes", f'<tool_call>{{"name": "f", "arguments": {arguments}}}') == [("f", arguments)]


def test_an_id_that_the_model_gave_is_kept():
    events = read(TOOL_PARSERS["mistral"](TOOLS), "[TOOL_CALLS]now[CALL_ID]abc123def[ARGS]{}")
    assert events[0] == CallStart(0, "now", "abc123def")


def test_ids_have_the_form_that_templates_ask_for():
    assert OutputFormat(tools=TOOL_PARSERS["hermes"], reasoning=None).new_call_id().startswith("call_")
    ids = {OutputFormat(tools=TOOL_PARSERS["mistral"], reasoning=None).new_call_id() for _ in range(100)}
    assert len(ids) == 100 and all(len(each) == 9 and each.isalnum() for each in ids)


@pytest.mark.parametrize(
    "prompt, text, expected",
    [
        ("", "<think>\nhm\n</think>\n\nYes.\n", [Reasoning("hm"), Content("Yes.\n")]),
        ("", " \n<think>hm </think>Yes", [Reasoning("hm"), Content("Yes")]),
        ("", "<think>hm </thin", [Reasoning("hm </thin")]),
        ("", "<think>\n\n</think>\n\nYes", [Content("Yes")]),
        ("", " Yes <think>no</think>", [Content(" Yes <think>no</think>")]),
        ("", " <thing>", [Content(" <thing>")]),
        ("", "", []),
        ("a<think>\n", "\nhm\n</think>\nYes", [Reasoning("hm"), Content("Yes")]),
        ("a<think>\n", "<think>\nhm</think>Yes", [Reasoning("hm"), Content("Yes")]),
        ("a<think>\n", "<thing> hm \n", [Reasoning("<thing> hm \n")]),
        ("a<think>\n\n</think>\n\n", "Yes", [Content("Yes")]),
    ],
)
def test_reasoning(prompt, text, expected):
    parser = REASONING_PARSERS["think"](prompt)
    assert parser.thinking == prompt.endswith("<think>\n")
    assert read(parser, text) == expected


def test_calls_are_looked_for_behind_the_reasoning_only():
    parser = choose("hermes", "think", None).parser(TOOLS)
    text = f"<think>I could <tool_call>{WEATHER}</tool_call></think>\n<tool_call>{NOW}</tool_call>"
    events = read(parser, text)
    assert events == [
        Reasoning(f"I could <tool_call>{WEATHER}</tool_call>"),
        CallStart(0, "now"),
        CallArguments(0, "{}"),
    ]


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
CALLS = st.lists(
    st.tuples(st.sampled_from(TOOLS), st.dictionaries(st.text(max_size=8), VALUES, max_size=3)),
    min_size=1,
    max_size=3,
)


@given(st.sampled_from(list(TOOL_PARSERS)), CALLS)
def test_calls_that_are_written_are_read_again(name, written):
    found = calls(name, TOOL_PARSERS[name].write(written))
    assert [(called, json.loads(arguments)) for called, arguments in found] == written
