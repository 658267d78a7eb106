"""Bytes with known times go in, and exactly those times come out."""

from __future__ import annotations

import json

import pytest

from redline.bench.serving import failure, served
from redline.bench.serving.answer import Answer
from redline.bench.serving.call import Outcome
from redline.bench.serving.failure import Failed
from redline.bench.serving.served import Served

HEAD = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\nTransfer-Encoding: chunked\r\n\r\n"
)
END = b"0\r\n\r\n"


def coded(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def event(**members) -> bytes:
    return coded(b"data: " + json.dumps(members).encode() + b"\n\n")


def token(text: str = " word", finish: str | None = None) -> bytes:
    return event(choices=[{"index": 0, "delta": {"content": text}, "finish_reason": finish}])


def usage(prompt: int, completion: int, cached: int | None = None) -> bytes:
    details = None if cached is None else {"cached_tokens": cached}
    return event(choices=[], usage={"prompt_tokens": prompt, "completion_tokens": completion,
                                    "prompt_tokens_details": details})  # fmt: skip


DONE = coded(b"data: [DONE]\n\n") + END


def outcome(*parts: tuple[float, bytes], asked: int = 3) -> Outcome:
    """Sent at second 10; each part comes at its own second."""
    made = Outcome(place=0, asked_tokens=asked, sent_s=10.0)
    for at_s, data in parts:
        made.answer.feed(data, at_s, 0.0)
    return made


def test_times_are_those_at_which_the_bytes_came() -> None:
    made = outcome(
        (10.5, HEAD + event(choices=[{"index": 0, "delta": {"role": "assistant", "content": ""}}])),
        (10.7, token()),
        (10.8, token()),
        (11.1, token(finish="length")),
        (11.2, usage(7, 3, cached=4) + DONE),
    )
    made.answer.check()
    found = Served.of(made, None)
    assert found.ttft_s == pytest.approx(0.7)  # a chunk without text is no token
    assert found.tbt_s == pytest.approx((0.1, 0.3))
    assert found.tpot_s == pytest.approx(0.2) and found.e2e_s == pytest.approx(1.1)
    assert (found.prompt_tokens, found.output_tokens, found.cached_tokens) == (7, 3, 4)
    assert found.doubts == () and made.answer.http.complete and made.answer.http.keep_alive


def test_a_chunk_of_several_tokens_counts_as_usage_says() -> None:
    made = outcome((11.0, HEAD + token(" one two")), (12.0, token(" three four")), (12.0, usage(1, 4) + DONE),
                   asked=4)  # fmt: skip
    found = Served.of(made, None)
    assert found.tpot_s == pytest.approx(1 / 3) and found.tbt_s == pytest.approx((1.0,))


def test_chunks_that_came_together_are_counted() -> None:
    made = outcome((11.0, HEAD + token()), (12.0, token() + token()))
    assert made.answer.num_merged == 1


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64])
def test_bytes_may_be_cut_anywhere(size: int) -> None:
    whole = HEAD + token() + token("\N{SNOWMAN}") + b"3;x=1\r\n: a\r\n2\r\n\n\n\r\n" + usage(1, 2) + DONE
    made = outcome(*((11.0, whole[at : at + size]) for at in range(0, len(whole), size)))
    assert made.answer.text == [" word", "\N{SNOWMAN}"] and made.answer.http.complete


@pytest.mark.parametrize(
    ("said", "asked", "tokens", "doubt"),
    [
        (b"", 9, 2, served.MISSING),
        (usage(1, 1), 9, 2, served.BELOW_CHUNKS),
        (usage(1, 2_000_000), 9, 2, served.ABOVE_ASKED),
        (usage(0, 2), 9, 2, served.NO_PROMPT),
    ],
)
def test_usage_that_cannot_be_true_is_not_believed(said, asked, tokens, doubt) -> None:
    found = Served.of(outcome((11.0, HEAD + token()), (12.0, token() + said + DONE), asked=asked), None)
    assert found.doubts == (doubt,) and found.output_tokens == tokens


def test_a_length_that_was_not_reached_is_doubted() -> None:
    made = outcome((11.0, HEAD + token(finish="length") + usage(1, 2) + DONE), asked=5)
    assert Served.of(made, None).doubts == (served.LENGTH,)


def test_the_text_is_counted_where_there_is_a_tokenizer() -> None:
    made = outcome((11.0, HEAD + token(" a b c d") + usage(1, 40) + DONE), asked=50)
    assert Served.of(made, None).doubts == ()
    found = Served.of(made, lambda text: len(text.split()))
    assert found.doubts == (served.NOT_THE_TEXT,) and found.output_tokens == 1


BROKEN = {
    "not JSON": (HEAD + coded(b"data: {oops\n\n"), failure.BAD_EVENT),
    "a list": (HEAD + coded(b"data: [1]\n\n"), failure.BAD_EVENT),
    "choices of another kind": (HEAD + event(choices=3), failure.BAD_EVENT),
    "text of another kind": (HEAD + event(choices=[{"delta": {"content": 3}}]), failure.BAD_EVENT),
    "usage of another kind": (HEAD + event(usage={"completion_tokens": "many"}), failure.BAD_EVENT),
    "deep": (HEAD + coded(b"data: " + b"[" * 100_000 + b"\n\n"), failure.BAD_EVENT),
    "not UTF-8": (HEAD + coded(b"data: \xff\xfe\n\n"), failure.BAD_EVENT),
    "an error": (HEAD + event(error={"message": "out of memory"}), failure.ERROR_EVENT),
    "no HTTP": (b"SSH-2.0-OpenSSH_9.2\r\n", failure.BAD_HTTP),
    "a status of words": (b"HTTP/1.1 OK\r\n\r\n", failure.BAD_HTTP),
    "a negative chunk": (HEAD + b"-5\r\n", failure.BAD_HTTP),
    "a huge chunk": (HEAD + b"fffffffffff\r\n", failure.BAD_HTTP),
    "a size without end": (HEAD + b"1" * 5000, failure.BAD_HTTP),
    "a negative length": (b"HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n", failure.BAD_HTTP),
    "a head without end": (b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 20_000, failure.BAD_HTTP),
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_no_answer_is_a_failure_with_a_kind(name: str) -> None:
    data, kind = BROKEN[name]
    with pytest.raises(Failed) as raised:
        Answer().feed(data, 1.0, 0.0)
    assert raised.value.kind == kind


def ended(*data: bytes) -> str:
    """The kind of failure of an answer after which the server closes."""
    answer = Answer()
    with pytest.raises(Failed) as raised:
        answer.feed(b"".join(data), 1.0, 0.0)
        if not answer.http.complete:
            answer.http.close()
        answer.check()
    return raised.value.kind


def test_ends_that_come_too_soon() -> None:
    assert ended(b"") == failure.CLOSED_EARLY
    assert ended(HEAD, token()) == failure.CLOSED_EARLY
    assert ended(HEAD, token(), END) == failure.CLOSED_EARLY  # HTTP is whole, the answer is not
    assert ended(HEAD, DONE) == failure.EMPTY


def test_refusals_keep_their_status_message_and_wait() -> None:
    body = b'{"error": {"message": "the queue is full"}}'
    answer = Answer()
    answer.feed(
        b"HTTP/1.1 429 Too Many\r\nretry-after: 7\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body),
        1.0,
        0.0,
    )
    with pytest.raises(Failed) as raised:
        answer.check()
    assert (raised.value.kind, raised.value.detail) == ("HTTP 429", "the queue is full")
    assert raised.value.retry_after_s == 7


def test_a_whole_answer_instead_of_a_stream_is_told_apart() -> None:
    body = b'{"choices": []}'
    assert (
        ended(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 15\r\n\r\n", body)
        == failure.NOT_STREAMED
    )


def test_old_servers_end_by_closing() -> None:
    answer = Answer()
    answer.feed(b"HTTP/1.0 200 OK\r\ncontent-type: text/event-stream\r\n\r\n", 1.0, 0.0)
    answer.feed(b'data: {"choices": [{"text": "a"}]}\r\n\r\ndata: [DONE]\r\n\r\n', 2.0, 0.0)
    answer.http.close()
    answer.check()
    assert answer.http.complete and not answer.http.keep_alive and answer.text == ["a"]


def test_notices_before_the_answer_are_passed_over() -> None:
    whole = b"HTTP/1.1 100 Continue\r\n\r\n" + HEAD + token() + DONE
    for cut in range(1, 120):
        answer = Answer()
        answer.feed(whole[:cut], 1.0, 0.0)
        answer.feed(whole[cut:], 1.0, 0.0)
        assert answer.http.status == 200 and len(answer.chunk_s) == 1
