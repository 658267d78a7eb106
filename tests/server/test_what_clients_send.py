"""Requests in the shape in which chat pages, coding agents, and gateways send them.

Recorded from Claude Code 2.1, Codex 0.16x and opencode 1.18, with short texts in place of theirs; those of
Open WebUI and LibreChat are as their documentation and code have them.
"""

import json

import pytest

from tests.server.running_server import RunningServer

MODEL = "fake-model"
CHAT = "/v1/chat/completions"
SCHEMA = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "properties": {"command": {"type": "string"}, "timeout": {"type": "number"}},
    "required": ["command"],
    "additionalProperties": False,
}


@pytest.fixture(scope="module")
def server():
    with RunningServer(tool_call_parser="hermes") as server:
        yield server


OPEN_WEBUI = {
    "stream": True,
    "model": MODEL,
    "messages": [
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": [{"type": "text", "text": "SAY:hi"}]},
    ],
    "stream_options": {"include_usage": True},
    "temperature": 0.7,
    "top_p": 0.9,
    "seed": 1,
    "stop": ["###"],
    "max_tokens": 32,
    "frequency_penalty": 0,
    "presence_penalty": 0,
    "logit_bias": {},
    "tool_ids": [],
    "features": {"web_search": False},
    "chat_id": "c",
    "session_id": "s",
    "background_tasks": {"title_generation": True},
}
LIBRE_CHAT = {
    "model": MODEL,
    "temperature": 1,
    "top_p": 1,
    "presence_penalty": 0,
    "frequency_penalty": 0,
    "user": "LibreChat_User_ID",
    "stream": True,
    "messages": [
        {"role": "system", "name": "instructions", "content": "Be kind."},
        {"role": "user", "content": "SAY:hi"},
    ],
}
OPENCODE = {
    "model": MODEL,
    "max_tokens": 32,
    "messages": [{"role": "system", "content": "A coder."}, {"role": "user", "content": "SAY:hi"}],
    "tools": [{"type": "function", "function": {"name": "bash", "description": "", "parameters": SCHEMA}}],
    "tool_choice": "auto",
    "stream": True,
    "stream_options": {"include_usage": True},
}
GATEWAY = {
    "model": MODEL,
    "messages": [{"role": "user", "content": "SAY:hi"}],
    "user": "u",
    "metadata": {"trace_id": "t"},
    "stream": False,
    "n": 1,
    "logprobs": False,
    "tools": None,
    "response_format": {"type": "text"},
    "service_tier": "auto",
    "store": False,
    "reasoning_effort": None,
    "litellm_call_id": "x",
    "provider": {"order": ["a"]},
}


@pytest.mark.parametrize("body", [OPEN_WEBUI, LIBRE_CHAT, OPENCODE, GATEWAY])
def test_chat_pages_and_gateways_are_served(server, body):
    headers = {
        "x_openwebui_user_name": "Ann",
        "x_openwebui_chat_id": "c",
        "http_referer": "https://openwebui.com/",
        "x_title": "Open WebUI",
        "x_request_id": "r",
    }
    status, _, answer = server.post(CHAT, body, **headers)
    assert status == 200, answer
    text = answer.decode()
    if body["stream"]:
        events = [json.loads(line[6:]) for line in text.splitlines() if line.startswith("data: {")]
        text = "".join(e["choices"][0]["delta"].get("content", "") for e in events if e["choices"])
        assert text == "hi" and answer.endswith(b"data: [DONE]\n\n")
        assert (events[-1].get("usage") is not None) == ("stream_options" in body)
    else:
        assert json.loads(text)["choices"][0]["message"]["content"] == "hi"


CLAUDE_CODE = {
    "model": MODEL,
    "messages": [
        {
            "role": "user",
            "content": [{"type": "text", "text": "List it", "cache_control": {"type": "ephemeral"}}],
        },
        {"role": "system", "content": [{"type": "text", "text": "# Environment\n"}]},
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": "hm", "signature": ""},
                {"type": "text", "text": "Looking."},
                {"type": "tool_use", "id": "toolu_1", "name": "Bash", "input": {"command": "ls"}},
            ],
        },
        {
            "role": "user",
            "content": [
                {
                    "type": "tool_result",
                    "tool_use_id": "toolu_1",
                    "content": [{"type": "text", "text": "a.py"}],
                    "is_error": False,
                    "cache_control": {"type": "ephemeral"},
                },
                {"type": "text", "text": "SAY:hi"},
            ],
        },
    ],
    "system": [
        {"type": "text", "text": "x-anthropic-billing-header: cc_version=2.1.330;"},
        {"type": "text", "text": "You are an agent.", "cache_control": {"type": "ephemeral"}},
    ],
    "tools": [{"name": "Bash", "description": "Run it", "input_schema": SCHEMA}],
    "metadata": {"user_id": "{}"},
    "max_tokens": 32,
    "thinking": {"type": "adaptive", "display": "omitted"},
    "context_management": {"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]},
    "output_config": {"effort": "high"},
    "stream": True,
}
BETAS = {
    "anthropic_version": "2023-06-01",
    "anthropic_beta": "claude-code-20250219,interleaved-thinking-2025-05-14,context-management-2025-06-27",
    "anthropic_dangerous_direct_browser_access": "true",
    "x_app": "cli",
}


def test_claude_code_is_served(server):
    status, _, answer = server.post("/v1/messages?beta=true", CLAUDE_CODE, **BETAS)
    assert status == 200, answer
    events = [json.loads(line[6:]) for line in answer.decode().splitlines() if line.startswith("data: ")]
    assert "".join(e["delta"].get("text", "") for e in events if e["type"] == "content_block_delta") == "hi"
    assert events[-1]["type"] == "message_stop"
    kept = ("model", "messages", "system", "tools", "thinking", "context_management", "output_config")
    counted = {name: CLAUDE_CODE[name] for name in kept}
    status, _, answer = server.post("/v1/messages/count_tokens?beta=true", counted, **BETAS)
    assert status == 200 and json.loads(answer)["input_tokens"] > 50, answer


@pytest.mark.parametrize(
    "field, value",
    [
        ("context_management", {"edits": [{"type": "clear_tool_uses_20250919"}]}),
        ("output_config", {"effort": "low"}),
    ],
)
def test_what_would_change_an_answer_of_claude_code_is_refused(server, field, value):
    status, _, answer = server.post("/v1/messages", {**CLAUDE_CODE, field: value}, **BETAS)
    assert status == 400 and field in json.loads(answer)["error"]["message"], answer


CODEX = {
    "model": MODEL,
    "stream": True,
    "input": [
        {
            "type": "message",
            "id": "msg_1",
            "role": "developer",
            "content": [{"type": "input_text", "text": "Be."}],
        },
        {"type": "message", "id": "msg_2", "role": "user", "content": [{"type": "input_text", "text": "ls"}]},
        {
            "type": "function_call",
            "call_id": "call_1",
            "name": "exec_command",
            "arguments": '{"command":"ls"}',
        },
        {"type": "function_call_output", "call_id": "call_1", "output": "a.py"},
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "SAY:hi"}]},
    ],
    "tools": [
        {"type": "function", "name": "exec_command", "description": "", "strict": False, "parameters": SCHEMA}
    ],
    "tool_choice": "auto",
    "parallel_tool_calls": True,
    "reasoning": {"summary": "auto"},
    "store": False,
    "include": ["reasoning.encrypted_content"],
    "prompt_cache_key": "k",
    "client_metadata": {"session_id": "s"},
}


def test_codex_is_served(server):
    status, _, answer = server.post("/v1/responses", CODEX)
    assert status == 200, answer
    last = json.loads(answer.decode().rpartition("data: ")[2])
    assert last["type"] == "response.completed"
    assert last["response"]["output"][-1]["content"][0]["text"] == "hi"


@pytest.mark.parametrize(
    "tool",
    [{"type": "web_search", "external_web_access": False}, {"type": "namespace", "name": "n", "tools": []}],
)
def test_tools_that_the_server_would_run_are_refused_by_name(server, tool):
    """docs/http.md says how Codex is told to leave them out."""
    status, _, answer = server.post("/v1/responses", {**CODEX, "tools": [*CODEX["tools"], tool]})
    assert status == 400 and json.loads(answer)["error"]["param"] == "tools[1].type"
