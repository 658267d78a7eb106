"""Events whose text is filled in are those that whole chunks give, byte for byte."""

import json
from functools import partial

import pytest

from redline.config.sampling import SamplingParams
from redline.parsing.choose import choose
from redline.protocol.chat import ChatRequest
from redline.protocol.completions import CompletionRequest
from redline.protocol.sse import encode_event
from redline.server.chat import ChatAnswer
from redline.server.completions import CompletionAnswer
from redline.server.job import Job
from redline.server.spoken import spoken
from redline.server.text_chunks import StreamedEvents
from tests.server.fake_engine import ByteTokenizer, Delta

TEXTS = [
    "",
    " word",
    '"quoted" \\ and\n\r\t\0',
    "é😀",
    "a\u2028b\u2029c\u0085d",
    "\ue000text\ue001",
    "</script>",
]


def job(**params):
    params = SamplingParams(max_tokens=9, **params)
    return Job(id="id-1", created=1, model="fake-model", prompts=[[1, 2]], params=params)


def completion(**fields):
    request = CompletionRequest.parse({"model": "m", "prompt": "x", "stream": True, **fields})
    return CompletionAnswer(request, job(n=request.n), ByteTokenizer())


def chat(**fields):
    messages = [{"role": "user", "content": "x"}]
    request = ChatRequest.parse({"model": "m", "messages": messages, "stream": True, **fields})
    asked, tokenizer = job(n=request.n), ByteTokenizer()
    said = partial(spoken, request, asked, tokenizer, choose("none", "none", None))
    return ChatAnswer(request, asked, tokenizer, said)


def encode(chunk):
    return encode_event(chunk.to_json())


def deltas(n):
    return [
        Delta(request_id="r", index=index, text=text, token_ids=[7]) for text in TEXTS for index in range(n)
    ]


@pytest.mark.parametrize("make", [completion, chat])
@pytest.mark.parametrize("fields", [{}, {"n": 2}, {"stream_options": {"include_usage": True}}])
def test_the_bytes_are_those_of_whole_chunks(make, fields):
    streamed, whole = StreamedEvents(make(**fields), encode), make(**fields)
    n = fields.get("n", 1)
    last = [
        Delta(request_id="r", index=index, text="end", token_ids=[7], finish_reason="stop")
        for index in range(n)
    ]
    for delta in deltas(n) + last:
        whole.count(0, delta)
        assert streamed.of(0, delta) == b"".join(map(encode, whole.chunks(0, delta)))


@pytest.mark.parametrize("make", [completion, chat])
@pytest.mark.parametrize(
    "fields", [{}, {"return_token_ids": True}, {"stream_options": {"continuous_usage_stats": True}}]
)
def test_what_more_than_text_changes_is_not_filled_in(make, fields):
    """Counted by the chunks that are built: one to open the choice, then none, or one for each delta."""
    answer = make(**fields)
    built, chunks = [], answer.chunks
    answer.chunks = lambda prompt, delta: built.append(delta) or chunks(prompt, delta)
    streamed = StreamedEvents(answer, encode)
    for delta in deltas(1):
        event = streamed.of(0, delta).decode().rstrip("\n").rpartition("data: ")[2]
        choice = json.loads(event)["choices"][0]
        assert (choice["text"] if make is completion else choice["delta"]["content"]) == delta.text
    assert len(built) == (len(TEXTS) if fields else 1)
