"""Which parser reads whose answers: by name, or by the tags that a chat template shows."""

from types import SimpleNamespace

import pytest

from redline.errors import ConfigError
from redline.parsing.choose import choose
from redline.parsing.describe import describe_tools
from redline.parsing.hermes import HermesParser

# What published templates have in common with these is the spelling of the tags and where they stand.
HERMES = r"""{% for t in tools %}{{ t | tojson }}{% endfor %}Answer calls as <tool_call>
{\"name\": <function-name>, \"arguments\": <args-json-object>}\n</tool_call>"""
QWEN3 = HERMES + "{% if enable_thinking is false %}{{ '<think>\n\n</think>\n\n' }}{% endif %}"
CODER = "<tool_call>\n<function=a_name>\n<parameter=one>1</parameter>\n</function>\n</tool_call>"
GLM = "<tool_call>{name}\n<arg_key>{key}</arg_key></tool_call>"
LLAMA31 = "<|start_header_id|>{% if tools %}{{ '<|python_tag|>' + call.name + '.call(' }}{% endif %}"
LLAMA32 = '<|start_header_id|>Answer as {"name": function name, "parameters": dictionary of arguments}.'
MISTRAL = "{% if m.tool_calls %}{{ '[TOOL_CALLS]' + m.tool_calls | tojson }}{% endif %}"
R1 = "{{ m.content.split('</think>')[-1] }}{{ '<|Assistant|><think>\n' }}"
PLAIN = "{% for m in messages %}{{ m.role + m.content }}{% endfor %}"


def shown(source, reads=("messages", "tools")):
    return None if source is None else SimpleNamespace(source=source, reads=reads)


@pytest.mark.parametrize(
    "template, tools, reasoning",
    [
        (HERMES, "hermes", "none"),
        (QWEN3, "hermes", "think"),
        (CODER, "none", "none"),
        (GLM, "none", "none"),
        (LLAMA31, "llama3_json", "none"),
        (LLAMA32, "llama3_json", "none"),
        (MISTRAL, "mistral", "none"),
        (R1, "none", "think"),
        (PLAIN, "none", "none"),
        (None, "none", "none"),
    ],
)
def test_auto_follows_the_template_and_says_why(template, tools, reasoning):
    chosen = choose("auto", "auto", shown(template))
    assert getattr(chosen.tools, "name", "none") == tools
    assert getattr(chosen.reasoning, "name", "none") == reasoning
    assert [reason.partition(":")[0] for reason in chosen.reasons] == [
        f"tool_call_parser={tools}",
        f"reasoning_parser={reasoning}",
    ]


def test_a_name_needs_no_template_and_no_reason_and_none_is_off():
    chosen = choose("json", "think", shown(PLAIN))
    assert (chosen.tools.name, chosen.reasoning.name, chosen.reasons) == ("json", "think", ())
    chosen = choose("none", "none", shown(QWEN3))
    assert (chosen.tools, chosen.reasoning, chosen.reasons) == (None, None, ())


@pytest.mark.parametrize("names", [("yaml", "auto"), ("auto", "yaml"), (None, "auto"), ("think", "none")])
def test_other_names_are_refused_with_those_that_are_accepted(names):
    with pytest.raises(ConfigError, match="it must be one of auto, none, "):
        choose(*names, shown(PLAIN))


def test_tokens_are_kept_for_what_is_read():
    chosen = choose("auto", "auto", shown(MISTRAL))
    assert chosen.special_tokens(with_tools=True) == ("[TOOL_CALLS]", "[CALL_ID]", "[ARGS]")
    assert chosen.special_tokens(with_tools=False) == ()
    assert choose("auto", "auto", shown(R1)).special_tokens(with_tools=False) == ("<think>", "</think>")


def test_tools_are_described_to_a_model_whose_template_has_no_place_for_them():
    chosen = choose("json", "none", shown(PLAIN, ["messages"]))
    assert chosen.describes_tools and chosen.reasons[0].startswith("tools are described in a system message")
    assert not choose("json", "none", shown(PLAIN)).describes_tools
    assert not choose("auto", "none", shown(PLAIN, ["messages"])).describes_tools


def test_a_description_joins_the_system_message_or_is_one():
    user = {"role": "user", "content": "hi"}
    tools = [{"type": "function", "function": {"name": "now", "description": "d", "parameters": {}}}]
    (system, same) = describe_tools([user], tools, HermesParser)
    assert system["role"] == "system" and same == user
    assert '{"name": "now", "description": "d", "parameters": {}}' in system["content"]
    assert HermesParser.write([("function_name", {"parameter": "value"})]) in system["content"]
    (joined, _) = describe_tools([{"role": "system", "content": "Be brief."}, user], tools, HermesParser)
    assert joined["content"] == "Be brief.\n\n" + system["content"]
    assert describe_tools([user], [], HermesParser) == [user]


def test_earlier_calls_become_content():
    call = {"id": "a", "type": "function", "function": {"name": "now", "arguments": {"x": 1}}}
    (said,) = describe_tools([{"role": "assistant", "content": "", "tool_calls": [call]}], [], HermesParser)
    assert said == {"role": "assistant", "content": HermesParser.write([("now", {"x": 1})])}
    (said,) = describe_tools(
        [{"role": "assistant", "content": "a", "tool_calls": [call] * 2}], [], HermesParser
    )
    assert said["content"] == "a\n" + HermesParser.write([("now", {"x": 1})] * 2)
