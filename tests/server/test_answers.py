"""What an engine must never get past the server."""

import asyncio
import json

import pytest

from redline.config.sampling import SamplingParams
from redline.decoding.sampler import TokenLogprob
from redline.engine.outputs import Delta
from redline.protocol.completions import CompletionRequest
from redline.server.completions import CompletionAnswer
from redline.server.job import Job
from redline.server.logprobs import LogprobLister, finite
from redline.server.merge import merge
from tests.server.fake_engine import ByteTokenizer, FakeEngine
from tests.server.running_server import RunningServer

NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize(
    "logprob, sent", [(-1.5, -1.5), (0.0, 0.0), (-INF, -9999.0), (NAN, -9999.0), (-1e30, -9999.0)]
)
def test_log_probabilities_are_numbers_that_json_has(logprob, sent):
    assert finite(logprob) == sent
    lists = LogprobLister(ByteTokenizer(), 1).add([(97, TokenLogprob(97, logprob, 1, [(98, logprob)]))])
    assert json.loads(lists.to_json())["top_logprobs"] == [{"b": sent, "a": sent}]


def test_offsets_count_the_echoed_text_and_not_the_token_that_begins_it():
    """256 is a token that stands before every prompt and not in its text."""
    lister = LogprobLister(ByteTokenizer(), 0, echoed=([256, *b"ab"], "ab"))
    lists = lister.add([(token, None) for token in [256, *b"abc"]])
    assert (lists.tokens, lists.text_offset) == (["</s>", "a", "b", "c"], [0, 0, 1, 2])


def answer(n):
    request = CompletionRequest.parse({"model": "m", "prompt": "x", "n": n})
    job = Job(id="cmpl-1", created=1, model="m", prompts=[[1]], params=SamplingParams(n=n))
    return CompletionAnswer(request, job, ByteTokenizer())


def test_a_choice_that_ends_twice_or_never_is_a_bug_that_is_noticed():
    twice = answer(2)
    twice.count(0, Delta(request_id="r", index=0, finish_reason="stop"))
    with pytest.raises(AssertionError, match="finished twice"):
        twice.count(0, Delta(request_id="r", index=0, finish_reason="stop"))
    with pytest.raises(AssertionError, match="num_choices"):
        twice.check_complete()
    twice.count(0, Delta(request_id="r", index=1, finish_reason="stop"))
    twice.check_complete()


class SilentEngine(FakeEngine):
    """Ends its streams without a finish reason."""

    async def stream(self, prompt, params, *, request_id=None, **standing):
        yield Delta(request_id=request_id, text="x", token_ids=[120])


@pytest.mark.parametrize("stream", [False, True])
def test_an_answer_without_an_end_is_never_sent_as_whole(stream):
    with RunningServer(SilentEngine()) as server:
        body = {"model": "fake-model", "prompt": "x", "stream": stream}
        status, _, answer = server.post("/v1/completions", body)
    assert b"internal_error" in answer and b"[DONE]" not in answer and status == (200 if stream else 500)


def test_the_first_failure_of_merged_streams_closes_them_all():
    closed = []

    async def numbers(name, fails_at=None):
        try:
            for number in range(1000):
                if number == fails_at:
                    raise ValueError(name)
                yield number
                await asyncio.sleep(0)
        finally:
            closed.append(name)

    async def drain():
        return [item async for item in merge([numbers("a"), numbers("b", fails_at=3), numbers("c")])]

    with pytest.raises(ValueError, match="b"):
        asyncio.run(drain())
    assert sorted(closed) == ["a", "b", "c"]
