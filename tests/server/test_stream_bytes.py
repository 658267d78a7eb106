"""The exact bytes of a stream."""

import json
import re

from tests.server.running_server import RunningServer

CHAT = {"model": "fake-model", "messages": [{"role": "user", "content": "SAY:\u00e9\u2028"}], "stream": True}


def stream_of(server: RunningServer, path: str, body: dict) -> tuple[dict[str, str], str]:
    status, headers, received = server.post(path, body)
    assert status == 200
    text = received.decode()
    text = re.sub(r'"id":"(chatcmpl|cmpl)-[0-9a-f]{32}"', '"id":"ID"', text)
    return headers, re.sub(r'"created":\d{10},', '"created":1,', text)


def test_chat_stream(server):
    headers, text = stream_of(
        server, "/v1/chat/completions", {**CHAT, "stream_options": {"include_usage": True}}
    )
    assert headers["content-type"] == "text/event-stream" and headers["cache-control"] == "no-cache"
    head = '{"id":"ID","object":"chat.completion.chunk","created":1,"model":"fake-model","choices":['
    tail = '"logprobs":null,"finish_reason":null}],"usage":null}'
    assert text.split("\n\n") == [
        "data: " + head + '{"index":0,"delta":{"role":"assistant","content":""},' + tail,
        "data: " + head + '{"index":0,"delta":{"content":""},' + tail,
        "data: " + head + '{"index":0,"delta":{"content":"\u00e9"},' + tail,
        "data: " + head + '{"index":0,"delta":{"content":""},' + tail,
        "data: " + head + '{"index":0,"delta":{"content":""},' + tail,
        "data: " + head + '{"index":0,"delta":{"content":"\\u2028"},' + tail,
        "data: "
        + head
        + '{"index":0,"delta":{},"logprobs":null,"finish_reason":"stop","stop_reason":null}],"usage":null}',
        "data: " + head + '],"usage":{"prompt_tokens":15,"completion_tokens":6,"total_tokens":21,'
        '"prompt_tokens_details":{"cached_tokens":2},"completion_tokens_details":{"reasoning_tokens":0}}}',
        "data: [DONE]",
        "",
    ]


def test_completion_stream(server):
    body = {"model": "fake-model", "prompt": "SAY:ab", "stream": True, "max_tokens": 2}
    _, text = stream_of(server, "/v1/completions", body)
    head = '{"id":"ID","object":"text_completion","created":1,"model":"fake-model","choices":['
    assert text == (
        "data: " + head + '{"index":0,"text":"a","logprobs":null,"finish_reason":null}]}\n\n'
        "data: "
        + head
        + '{"index":0,"text":"b","logprobs":null,"finish_reason":"length","stop_reason":null}]}\n\n'
        "data: [DONE]\n\n"
    )


def test_whole_chat_answer_has_every_required_member(server):
    _, _, body = server.post("/v1/chat/completions", {**CHAT, "stream": False})
    answer = json.loads(body)
    assert list(answer) == ["id", "object", "created", "model", "choices", "usage"]
    assert answer["choices"] == [
        {
            "index": 0,
            "message": {"role": "assistant", "content": "\u00e9\u2028", "refusal": None},
            "logprobs": None,
            "finish_reason": "stop",
            "stop_reason": None,
        }
    ]
