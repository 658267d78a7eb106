"""Many asyncio callers on one engine thread, on the real model."""

import asyncio

import pytest

from redline import LLM, AsyncLLM, SamplingParams
from redline.errors import ContextLengthError, EngineDead, QueueFull, RequestError
from tests.model_file import smollm2

pytestmark = pytest.mark.model

PARAMS = SamplingParams(temperature=0.0, max_tokens=12, ignore_eos=True)
PROMPTS = [f"Story number {index}: once upon a time" for index in range(6)]


def open_llm(**options):
    return AsyncLLM(str(smollm2()), max_context=256, **{"kv_memory": "64MiB", **options})


async def collect(llm, prompt, params=PARAMS, **options):
    return [delta async for delta in llm.stream(prompt, params, **options)]


def test_concurrent_streams_equal_the_offline_answers():
    offline = LLM(str(smollm2()), max_context=256, kv_memory="64MiB").generate(PROMPTS, PARAMS)

    async def main():
        async with open_llm() as llm:
            return await asyncio.gather(*(collect(llm, prompt) for prompt in PROMPTS))

    for deltas, expected in zip(asyncio.run(main()), offline, strict=True):
        assert "".join(delta.text for delta in deltas) == expected.text
        assert [delta.last for delta in deltas] == [False] * 11 + [True]
        assert deltas[-1].metrics.num_output_tokens == 12


@pytest.mark.parametrize("batching", ["static", "dynamic"])
def test_a_closed_batch_that_does_not_fill_starts_after_its_window(batching):
    offline = LLM(str(smollm2()), max_context=256, kv_memory="64MiB").generate(PROMPTS[:3], PARAMS)

    async def main():
        async with open_llm(batching=batching, batch_window=0.3, max_batch=2) as llm:
            both = await asyncio.gather(collect(llm, PROMPTS[0]), collect(llm, PROMPTS[1]))
            return [*both, await collect(llm, PROMPTS[2])]

    streams = asyncio.run(main())
    for deltas, expected in zip(streams, offline, strict=True):
        assert "".join(delta.text for delta in deltas) == expected.text
    assert streams[2][-1].metrics.queue_s >= 0.3


@pytest.mark.parametrize("deadline_s", [-1.0, float("nan")])
def test_a_deadline_that_is_none_is_refused(deadline_s):
    async def main():
        async with open_llm(order="deadline") as llm:
            with pytest.raises(RequestError, match="deadline_s is"):
                await collect(llm, PROMPTS[0], deadline_s=deadline_s)
            return await collect(llm, PROMPTS[0], deadline_s=9.0)

    assert asyncio.run(main())[-1].last


def test_an_urgent_request_takes_a_place_in_a_full_batch():
    async def main():
        async with open_llm(order="priority", max_batch=1) as llm:
            endless = SamplingParams(temperature=0.0, max_tokens=200, ignore_eos=True)
            slow = llm.stream(PROMPTS[0], endless, priority=1)
            await anext(slow)
            await collect(llm, PROMPTS[1], priority=0)
            assert llm.stats().num_preemptions == 1
            await slow.aclose()

    asyncio.run(main())


def test_leaving_a_stream_aborts_the_request():
    async def main():
        async with open_llm() as llm:
            endless = SamplingParams(temperature=0.0, max_tokens=200, ignore_eos=True)
            stream = llm.stream(PROMPTS[0], endless)
            await anext(stream)
            assert llm.stats().running == 1
            await stream.aclose()
            task = asyncio.create_task(collect(llm, PROMPTS[1], endless))
            await asyncio.sleep(0.05)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await collect(llm, PROMPTS[2])  # the aborts were handled before this request was
            return llm.stats()

    stats = asyncio.run(main())
    assert (stats.running, stats.waiting, stats.kv_usage) == (0, 0, 0.0)


def test_bad_requests_are_refused_and_harm_nobody():
    async def main():
        async with open_llm(max_waiting=4, max_batch=1) as llm:
            good = asyncio.create_task(collect(llm, PROMPTS[0]))
            for prompt, error in (
                ("", RequestError),
                ([10**9], RequestError),
                ([5] * 300, ContextLengthError),
            ):
                with pytest.raises(error):
                    await collect(llm, prompt)
            crowd = [asyncio.create_task(collect(llm, prompt)) for prompt in PROMPTS * 3]
            results = await asyncio.gather(*crowd, return_exceptions=True)
            refused = [result for result in results if isinstance(result, QueueFull)]
            answered = [result for result in results if isinstance(result, list)]
            assert len(refused) + len(answered) == len(crowd) and refused and answered
            assert all(len(deltas) == 12 for deltas in answered)
            return await good

    assert len(asyncio.run(main())) == 12


def test_a_request_id_in_use_is_refused():
    async def main():
        async with open_llm() as llm:
            stream = llm.stream(PROMPTS[0], PARAMS, request_id="mine")
            await anext(stream)
            with pytest.raises(RequestError, match="'mine' is in use"):
                await collect(llm, PROMPTS[1], request_id="mine")
            assert len([delta async for delta in stream]) == 11

    asyncio.run(main())


@pytest.mark.parametrize("how", ["crash", "close"])
def test_when_the_engine_ends_every_caller_hears_of_it(how, monkeypatch, caplog):
    async def main():
        llm = open_llm()
        endless = SamplingParams(temperature=0.0, max_tokens=200, ignore_eos=True)
        tasks = [asyncio.create_task(collect(llm, prompt, endless)) for prompt in PROMPTS]
        await asyncio.sleep(0.1)
        if how == "crash":
            monkeypatch.setattr(llm._engine, "step", lambda: 1 / 0)
        else:
            await llm.close()
        results = await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 20)
        assert all(isinstance(result, EngineDead) for result in results)
        assert not llm.healthy
        with pytest.raises(EngineDead):
            await collect(llm, PROMPTS[0])
        await llm.close()

    asyncio.run(main())


def test_only_requests_of_the_same_salt_share_what_is_cached():
    prompt = list(range(1000, 1064))
    two = SamplingParams(temperature=0.8, seed=1, n=2, max_tokens=4)

    async def main():
        async with open_llm() as llm:
            with pytest.raises(RequestError, match="cache_salt is 7"):
                await collect(llm, prompt, two, cache_salt=7)
            return [
                (await collect(llm, prompt, two, cache_salt=salt))[-1].metrics.num_cached_tokens
                for salt in ("ada", "ben", "ada", "")
            ]

    assert asyncio.run(main()) == [0, 0, 63, 0]
