"""Tools on their way to the model, and control tokens on their way back."""

from __future__ import annotations

import pytest

from redline import LLM, SamplingParams
from redline.engine.inputs import PromptEncoder
from redline.errors import RequestError
from redline.models.chat_template import ChatTemplate
from tests.model_file import smollm2

pytestmark = pytest.mark.model

TEMPLATE = (
    "{% for tool in tools or [] %}{{ tool.function.name }}<tool_call>{% endfor %}"
    "{% for m in messages %}{{ m.role + ':' + m.content }}{{ m.tool_calls }}{% endfor %}{{ enable_thinking }}"
)
TOOLS = [{"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}]
TALK = [{"role": "user", "content": "Hi"}]
CALLING = [*TALK, {"role": "assistant", "content": "", "tool_calls": [{"id": "a"}]}]


@pytest.fixture(scope="module")
def llm() -> LLM:
    return LLM(str(smollm2()), max_context=256)


def encoder(llm: LLM, template: str) -> PromptEncoder:
    return PromptEncoder(llm.tokenizer, ChatTemplate(template), llm.tokenizer.vocab_size, 256)


def test_a_template_that_takes_tools_gets_them(llm: LLM) -> None:
    token_ids = encoder(llm, TEMPLATE).encode_chat(CALLING, TOOLS, {"enable_thinking": False})
    text = llm.tokenizer.decode(token_ids)
    assert text == "weather<tool_call>user:Hiassistant:[{'id': 'a'}]False"


@pytest.mark.parametrize(
    "call, param",
    [
        ((TALK, TOOLS), "tools"),
        ((TALK, None, {"enable_thinking": True}), "enable_thinking"),
        ((CALLING,), "messages[1].tool_calls"),
    ],
)
def test_what_a_template_does_not_read_is_refused(llm: LLM, call: tuple, param: str) -> None:
    with pytest.raises(RequestError) as caught:
        encoder(llm, "{{ messages }}").encode_chat(*call)
    assert caught.value.param == param


def test_chat_takes_tools_and_refuses_them_where_nobody_would_see_them(llm: LLM) -> None:
    with pytest.raises(RequestError, match="no place for tools"):
        llm.chat(TALK, SamplingParams(max_tokens=1), tools=TOOLS)
    assert llm.output_format.tools is None and llm.output_format.reasoning is None


def test_control_tokens_that_are_asked_for_are_in_the_text(llm: LLM) -> None:
    token_id = llm.tokenizer.token_to_id("<|im_start|>")
    params = {"max_tokens": 3, "temperature": 0, "logit_bias": {token_id: 100}}
    for options, text in (
        ({}, ""),
        ({"keep_special_tokens": ("<|im_start|>", "<no such token>")}, "<|im_start|>" * 3),
        ({"keep_special_tokens": ("<|im_end|>",)}, ""),
    ):
        (output,) = llm.generate("Hi", SamplingParams(**params, **options))
        assert output.choices[0].token_ids == [token_id] * 3 and output.text == text
