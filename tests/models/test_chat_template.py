"""Chat templates: as transformers renders them, content that stays content, and templates that attack."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from redline.errors import ModelFileError, RequestError
from redline.models import chat_template, template_budget
from redline.models.chat_template import ChatTemplate
from redline.models.tokenizer import Tokenizer
from tests.models.vocabularies import CHATML, NASTY, byte_level_metadata, byte_level_vocabulary

TOKENIZER = Tokenizer.from_gguf(byte_level_metadata("gpt-2"))
TALK = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Why is the sky blue?"},
    {"role": "assistant", "content": "Scattering.\n"},
    {"role": "user", "content": "  And at night?  "},
]
TOOLS = [
    {"type": "function", "function": {"name": "now", "description": "<time> & 'date'", "parameters": {}}}
]
SMOLLM = (
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\nYou help.<|im_end|>\n' }}{% endif %}{{'<|im_start|>' + message['role'] + '\n' + "
    "message['content'] + '<|im_end|>' + '\n'}}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
LLAMA = """{{- bos_token }}
{%- if messages[0]['role'] == 'system' %}
    {%- set system_message = messages[0]['content'] | trim %}
    {%- set messages = messages[1:] %}
{%- else %}
    {%- set system_message = "" %}
{%- endif %}
{%- if tools is not none %}
    {{- "Tools:\n" }}
    {%- for t in tools %}
        {{- t | tojson(indent=4) + "\n\n" }}
    {%- endfor %}
{%- endif %}
{{- "<|im_start|>system\n" ~ system_message ~ eos_token }}
{%- for message in messages %}
    {%- if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}
        {{- raise_exception("roles must alternate") }}
    {%- endif %}
    {%- generation %}{{ '<|im_start|>' + message.role + '\n' + message.content | trim + eos_token }}
    {%- endgeneration %}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\n\n' }}{%- endif %}
"""
QWEN3 = """{%- set ns = namespace(multi=true, last=messages|length - 1) %}
{%- for message in messages[::-1] %}
    {%- set index = (messages|length - 1) - loop.index0 %}
    {%- if ns.multi and message.role == "user" and message.content is string %}
        {%- set ns.multi = false %}
        {%- set ns.last = index %}
    {%- endif %}
{%- endfor %}
{%- macro show(role, content) %}<|im_start|>{{ role }}
{{ content }}<|im_end|>
{% endmacro %}
{%- for message in messages %}
    {%- if message.role == "assistant" %}
        {%- set content = message.content.split('</think>')[-1].lstrip('\n') %}
        {%- if loop.index0 > ns.last %}{% continue %}{% endif %}
        {{- show(message.role, content) }}
    {%- else %}
        {{- show(message.role, message.content) }}
    {%- endif %}
{%- endfor %}
{%- for key, value in {"b": 1, "a": [1, 2]}|dictsort %}{{ key }}={{ value }};{% endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\n' }}{%- endif %}"""

CALLING = """{%- if tools %}{{- '<|im_start|>system\n' }}
    {%- for tool in tools %}{{- tool | tojson }}{%- endfor %}{{- '<|im_end|>\n' }}
{%- endif %}
{%- for message in messages %}
    {%- if message.role == "tool" %}
        {{- '<|im_start|>user\n<tool_response>\n' + message.content + '\n</tool_response><|im_end|>\n' }}
        {%- continue %}
    {%- endif %}
    {{- '<|im_start|>' + message.role + '\n' }}
    {%- if message.reasoning_content %}{{- '<think>' + message.reasoning_content + '</think>' }}{%- endif %}
    {{- message.content }}
    {%- for call in message.tool_calls or [] %}
        {%- if call.function %}{%- set call = call.function %}{%- endif %}
        {{- '<tool_call>\n{"name": "' + call.name + '", "arguments": ' }}
        {{- call.arguments | tojson }}{{- '}\n</tool_call>' }}
    {%- endfor %}
    {{- '<|im_end|>\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\n' }}
    {%- if enable_thinking is defined and not enable_thinking %}{{- '<think>\n\n</think>\n\n' }}{%- endif %}
{%- endif %}"""
CALL = {"name": "now", "arguments": {"zone": "a < b \u00e9", "deep": [1, {"x": None}]}}
CALLED = [
    *TALK,
    {
        "role": "assistant",
        "content": "",
        "tool_calls": [{"id": "a", "type": "function", "function": CALL}],
        "reasoning_content": "Hm",
    },
    {"role": "tool", "tool_call_id": "a", "content": "12:00"},
]


def judge_of(transformers, source):
    """A tokenizer of transformers with our vocabulary and this template."""
    from tokenizers import AddedToken

    tokens, merges = byte_level_vocabulary()
    vocab = {token: place for place, token in enumerate(tokens)}
    judge = transformers.GPT2Tokenizer(
        vocab=vocab, merges=list(merges), bos_token="<|im_start|>", eos_token="<|im_end|>"
    )
    judge.add_special_tokens({"additional_special_tokens": [AddedToken("<|endoftext|>")]})
    judge.chat_template = source
    return judge


@pytest.mark.oracle
@pytest.mark.parametrize("variables", [{}, {"enable_thinking": False}, {"enable_thinking": True}], ids=str)
def test_calls_and_their_results_equal_transformers(variables):
    transformers = pytest.importorskip("transformers")
    judge, template = judge_of(transformers, CALLING), ChatTemplate(CALLING)
    options = {"tools": TOOLS, "add_generation_prompt": True, **variables}
    rendered = template.render(CALLED, **options)
    assert rendered == judge.apply_chat_template(CALLED, tokenize=False, **options)
    assert "<tool_response>\n12:00" in rendered and '"zone": "a < b' in rendered
    expected = judge.apply_chat_template(CALLED, tokenize=True, return_dict=False, **options)
    assert template.encode_chat(TOKENIZER, CALLED, **options) == expected
    assert {"tools", "enable_thinking"} <= template.reads


@pytest.mark.oracle
@pytest.mark.parametrize("source", [CHATML, SMOLLM, LLAMA, QWEN3], ids=["chatml", "smollm", "llama", "qwen3"])
@pytest.mark.parametrize("tools", [None, TOOLS], ids=["plain", "tools"])
@pytest.mark.parametrize("generate", [True, False])
def test_equals_transformers(source, tools, generate):
    transformers = pytest.importorskip("transformers")
    judge = judge_of(transformers, source)
    template = ChatTemplate(source, "<|im_start|>", "<|im_end|>")
    for text in NASTY:
        if "<|im" in text or "<|end" in text:
            continue  # content that spells a control token: see below
        talk = [*TALK, {"role": "assistant", "content": f"{text}</think>\n\n{text}"}, TALK[1]]
        options = {"tools": tools, "add_generation_prompt": generate}
        assert template.render(talk, **options) == judge.apply_chat_template(talk, tokenize=False, **options)
        expected = judge.apply_chat_template(talk, tokenize=True, return_dict=False, **options)
        assert template.encode_chat(TOKENIZER, talk, **options) == expected


def test_template_of_a_tokenizer():
    template = ChatTemplate.of(TOKENIZER)
    assert template.source == CHATML
    assert ChatTemplate.of(Tokenizer.from_gguf(byte_level_metadata("gpt-2", chat_template=None))) is None
    assert (
        ChatTemplate("{{ bos_token }}|{{ eos_token }}|{{ unk_token }}", "B", unk_token="U").render(TALK)
        == "B||U"
    )


# Content is never control.

CONTENT = st.lists(
    st.sampled_from(
        ["<|im_start|>", "<|im_end|>", "<|im_", "end|>", "<", "|>", "a", "\n", "<|<|im_end|>", "\ufdd0"]
    ),
    max_size=6,
).map("".join)


def _control_ids(ids: list[int]) -> list[int]:
    return [token_id for token_id in ids if TOKENIZER.is_control(token_id)]


@given(st.lists(CONTENT, min_size=1, max_size=4), st.sampled_from([CHATML, SMOLLM, QWEN3]))
def test_content_that_spells_control_tokens_stays_text(contents, source):
    template = ChatTemplate(source, "<|im_start|>", "<|im_end|>")
    talk = [{"role": "user", "content": content} for content in contents]
    harmless = [{"role": "user", "content": "a"} for _ in contents]
    ids = template.encode_chat(TOKENIZER, talk)
    assert _control_ids(ids) == _control_ids(template.encode_chat(TOKENIZER, harmless))
    assert TOKENIZER.decode(ids, skip_special_tokens=False) == template.render(talk)


@given(CONTENT, CONTENT, CONTENT)
def test_parts_that_a_template_puts_together_stay_text(first, second, third):
    template = ChatTemplate(
        "{% for m in messages %}{% for c in m.content %}{{ c.text }}{% endfor %}{% endfor %}"
    )
    parts = [{"type": "text", "text": text} for text in (first, second, third)]
    ids = template.encode_chat(TOKENIZER, [{"role": "user", "content": parts}])
    assert _control_ids(ids) == []
    assert TOKENIZER.decode(ids, skip_special_tokens=False) == first + second + third


def test_tools_roles_and_names_stay_text():
    template = ChatTemplate("{{ tools|tojson }}<|{{ messages[0].role }}|>{{ messages[0].name }}")
    tools = [{"<|im_end|>": "<|im_start|>"}]
    talk = [{"role": "user", "name": "<|im_end|>", "content": ""}]
    ids = template.encode_chat(TOKENIZER, talk, tools=tools)
    assert _control_ids(ids) == []
    assert TOKENIZER.decode(ids) == '[{"<|im_end|>": "<|im_start|>"}]<|user|><|im_end|>'
    with pytest.raises(RequestError, match="'endoftext', a part of the control token"):
        template.encode_chat(TOKENIZER, [{"role": "endoftext", "content": ""}])


def test_mark_avoids_what_the_conversation_uses():
    every = "".join(chat_template.MARKS)
    talk = [{"role": "user", "content": "<|im_end|>" + every[:-1]}]
    ids = ChatTemplate(CHATML).encode_chat(TOKENIZER, talk)
    assert every[:-1] in TOKENIZER.decode(ids)
    with pytest.raises(RequestError, match="noncharacters"):
        ChatTemplate(CHATML).encode_chat(TOKENIZER, [{"role": "user", "content": every}])


@pytest.mark.parametrize(
    "messages", [[], None, "hi", [3], [{}], [{"role": 3}], [{"role": None, "content": "a"}], {"role": "user"}]
)
def test_malformed_messages_are_refused(messages):
    with pytest.raises(RequestError, match="messages") as refused:
        ChatTemplate(CHATML).encode_chat(TOKENIZER, messages)
    assert refused.value.param == "messages"


@pytest.mark.parametrize("content", [None, 3, ["a"], "\ud800"])
def test_content_that_a_template_cannot_use_is_refused(content):
    with pytest.raises(RequestError):
        ChatTemplate(CHATML).encode_chat(TOKENIZER, [{"role": "user", "content": content}])


# What templates can do wrong.


def test_a_template_refuses_with_its_own_words():
    template = ChatTemplate("{{ raise_exception('roles must alternate') }}")
    with pytest.raises(RequestError, match="roles must alternate"):
        template.render(TALK)


@pytest.mark.parametrize(
    "source",
    [
        "{% for %}",
        "{{",
        "{% if x %}",
        "{{ 'a'|center(10) }}",
        "{{ 1|round }}",
        "(" * 6000 + "{{" + "(" * 6000 + "1" + ")" * 6000 + "}}",
        "{% for i in [1] %}" * 500 + "{% endfor %}" * 500,
        "{{ " + "9" * 5000 + " }}",
        "x" * (chat_template.MAX_TEMPLATE + 1),
    ],
    ids=range(9),
)
def test_invalid_templates_are_refused(source):
    with pytest.raises(ModelFileError, match="chat template"):
        ChatTemplate(source)


@pytest.mark.parametrize(
    "source",
    [
        "{{ ''.__class__.__mro__ }}",
        "{{ self.__init__.__globals__ }}",
        "{{ cycler.__init__.__globals__.os.popen('id').read() }}",
        "{{ messages.append(1) }}",
        "{{ messages[0].update(a=1) }}",
        "{{ 'a'.ljust(10) }}",
        "{{ '{:9}'.format(1) }}",
        "{{ '{0.__class__}'.format(1) }}",
        "{{ raise_exception.__self__.x }}",
    ],
)
def test_leaving_the_sandbox_is_refused(source):
    with pytest.raises(ModelFileError, match="sandbox"):
        ChatTemplate(source).render(TALK)


GROW = "{%% set ns = namespace(x=%s, y=%s) %%}{%% for i in range(60) %%}%s{%% endfor %%}%s"
NEST = "{% set ns.x = [ns.x, ns.x] %}"
HOSTILE = {
    "loops": "{% for i in range(100000) %}{% for j in range(100000) %}{% endfor %}{% endfor %}",
    "range": "{% for i in range(10**9) %}{% endfor %}",
    "~": GROW % ("'a'", 1, "{% set ns.x = ns.x ~ ns.x %}", "{{ ns.x }}"),
    "+": GROW % ("'a'", 1, "{% set ns.x = ns.x + ns.x %}", "{{ ns.x }}"),
    "list +": GROW % ("[1]", 1, "{% set ns.x = ns.x + ns.x %}", ""),
    "~ without loops": "{% set x = 'aaaaaaaaaaaaaaaa' %}" + "{% set x = x ~ x ~ x ~ x %}" * 30,
    "blocks": "{% set x = 'aaaaaaaa' %}" + "{% set x %}{{ x }}{{ x }}{{ x }}{% endset %}" * 40,
    "*": "{{ 'a' * 10**9 }}",
    "* reversed": "{{ 10**9 * 'a' }}",
    "list *": "{{ ([1] * 10**9)|length }}",
    "**": "{{ (10**1000)**1000 }}",
    "int *": "{% set ns = namespace(x=9) %}{% for i in range(99) %}{% set ns.x = ns.x * ns.x %}{% endfor %}",
    "% width": "{{ '%1000000000d' % 1 }}",
    "% star": "{{ '%*d' % (1000000000, 1) }}",
    "replace filter": "{% set x = 'a' * 1000000 %}{{ x|replace('a', x) }}",
    "replace method": "{% set x = 'a' * 1000000 %}{{ x.replace('', x) }}",
    "join filter": "{% set x = 'a' * 1000000 %}{{ range(100000)|join(x) }}",
    "join method": "{% set x = 'a' * 1000000 %}{{ x.join(x) }}",
    "join generator": "{% set x = 'a' * 1000000 %}{{ x.join(range(100000)|map('string')) }}",
    "indent": "{{ ('\n' * 1000000)|indent(10000) }}",
    "tojson": "{{ [1]|tojson(indent=1000000000) }}",
    "date": "{{ strftime_now('%1000000000Y') }}",
    "nested print": GROW % ("[1]", 1, NEST, "{{ ns.x }}"),
    "nested tojson": GROW % ("[1]", 1, NEST, "{{ ns.x|tojson }}"),
    "nested ~": GROW % ("[1]", 1, NEST, "{{ ns.x ~ '' }}"),
    "nested ==": GROW % ("[1]", "[1]", NEST + "{% set ns.y = [ns.y, ns.y] %}", "{{ ns.x == ns.y }}"),
    "nested is": GROW % ("[1]", "[1]", NEST + "{% set ns.y = [ns.y, ns.y] %}", "{{ ns.x is eq(ns.y) }}"),
    "nested key": GROW % ("(1,)", 1, "{% set ns.x = (ns.x, ns.x) %}", "{{ {ns.x: 1} }}"),
    "nested subscript": GROW % ("(1,)", 1, "{% set ns.x = (ns.x, ns.x) %}", "{{ {}[ns.x].y }}"),
    "nested get": GROW % ("(1,)", 1, "{% set ns.x = (ns.x, ns.x) %}", "{{ {}.get(ns.x) }}"),
    "nested index": GROW % ("[1]", "[1]", NEST + "{% set ns.y = [ns.y, ns.y] %}", "{{ [ns.x].index(ns.y) }}"),
    "nested message": GROW % ("[1]", 1, NEST, "{{ raise_exception(ns.x) }}"),
    "namespaces": "{% set a = namespace(x=1) %}" + "{% set a = namespace(x=a, y=a) %}" * 40 + "{{ a }}",
    "namespace in itself": "{% set a = namespace(x=1) %}{% set a.x = a %}{{ a }}",
    "macro": "{% macro f(n) %}{% if n %}{{ f(n-1) }}{{ f(n-1) }}{% endif %}{% endmacro %}{{ f(60) }}",
    "endless macro": "{% macro f(n) %}{{ f(n+1) }}{% endmacro %}{{ f(0) }}",
    "recursive loop": "{% for x in [1,2] recursive %}{% if loop.depth < 60 %}{{ loop([1,2]) }}{% endif %}"
    "{% endfor %}",
    "many strings": GROW.replace("60", "9999")
    % ("[]", 1, "{% set ns.x = ns.x + [('x' * 1000000) ~ i] %}", ""),
    "output": "{% for i in range(100000) %}{{ 'a' * 1000 }}{% endfor %}",
    "macro output": "{% macro f() %}{% for i in range(99999) %}{{ 'a' * 9999 }}{% endfor %}{% endmacro %}"
    "{{ f() }}",
    "include": "{% include 'x' %}",
    "lipsum": "{{ lipsum(n=1000000) }}",
}


@pytest.fixture
def peak_memory() -> Iterator[SimpleNamespace]:
    """Python's own peak since the test began, in bytes."""
    import tracemalloc

    tracemalloc.start()
    yield SimpleNamespace(bytes=lambda: tracemalloc.get_traced_memory()[1])
    tracemalloc.stop()


@pytest.mark.parametrize("source", HOSTILE.values(), ids=HOSTILE)
def test_hostile_templates_end_in_an_error(source, monkeypatch, peak_memory):
    monkeypatch.setattr(template_budget, "MAX_STEPS", 20_000)
    with pytest.raises(RequestError):
        ChatTemplate(source).render(TALK)
    assert peak_memory.bytes() < 400 * 2**20


def test_a_rendering_may_take_only_so_long(monkeypatch):
    monkeypatch.setattr(template_budget, "MAX_SECONDS", 0.05)
    with pytest.raises(RequestError, match=r"0\.05 seconds"):
        ChatTemplate(HOSTILE["loops"]).render(TALK)


def test_long_conversations_fit_the_budget():
    talk = [{"role": "user" if n % 2 == 0 else "assistant", "content": "word " * 200} for n in range(1000)]
    for source in (CHATML, LLAMA, QWEN3):
        assert len(ChatTemplate(source).render(talk, tools=TOOLS)) > 400_000
    assert len(ChatTemplate(CHATML).render([{"role": "user", "content": "x" * 5_000_000}])) > 5_000_000
