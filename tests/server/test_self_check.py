"""GET /health?deep=1: the engine that serves is asked whether its bits are still the same."""

import asyncio
import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest

from redline.async_llm import AsyncLLM
from redline.engine.forward import ReplayForward
from redline.server import self_check
from tests.model_file import smollm2
from tests.server.fake_engine import FakeEngine
from tests.server.running_server import RunningServer
from tests.server.test_lifecycle import error_of

DEEP = "/health?deep=1"


def deep(answer):
    return json.loads(answer[2])["deep"]["status"]


def test_it_holds_and_is_run_once_for_all_who_ask():
    with RunningServer(FakeEngine(step_s=0.005)) as server:
        with ThreadPoolExecutor(16) as pool:
            answers = list(pool.map(server.get, [DEEP] * 16))
        assert {answer[0] for answer in answers} == {200}
        assert {deep(answer) for answer in answers} == {"holds"}
        assert len(server.engine.seen) == 4
        assert len(set(server.engine.salts)) == 3  # one is asked twice


def test_health_without_it_asks_the_engine_nothing():
    with RunningServer() as server:
        for path in ("/health", "/health?deep=0", "/ping"):
            assert server.get(path)[0] == 200
        assert not server.engine.seen


@pytest.mark.parametrize("options, path", [({"self_check_s": None}, DEEP), ({}, "/health?deep=2")])
def test_what_is_not_there_is_refused_by_name(options, path):
    with RunningServer(**options) as server:
        status, _, body = server.get(path)
        assert (status, json.loads(body)["error"]["param"]) == (400, "deep")


class Faulty(FakeEngine):
    """Tells those something else who come after the first."""

    def _answer(self, prompt, params, choice, limit):
        tokens, reason = super()._answer(prompt, params, choice, limit)
        return ([token + 1 for token in tokens] if self.finished else tokens), reason


def test_a_fault_fails_health_until_it_is_gone():
    with RunningServer(Faulty(step_s=0.001), self_check_s=0.0) as server:
        assert server.get("/health")[0] == 200
        for path in (DEEP, "/health", "/ping"):
            assert error_of(server.get(path)) == (503, "self_check_failed")
        server.engine._answer = FakeEngine._answer.__get__(server.engine)
        assert deep(server.get(DEEP)) == "holds"
        assert server.get("/health")[0] == 200


class Silent(FakeEngine):
    """Gives no token its chance, which is always the same."""

    async def stream(self, *operands, **options):
        async for delta in super().stream(*operands, **options):
            yield replace(delta, logprobs=None)


def test_answers_without_tokens_prove_nothing():
    with RunningServer(Silent(step_s=0.001)) as server:
        answer = server.get(DEEP)
        assert answer[0] == 503 and "has 0 tokens" in answer[2].decode()


def test_an_engine_without_time_for_it_is_not_broken(monkeypatch):
    monkeypatch.setattr(self_check, "TIMEOUT_S", 0.05)
    with RunningServer() as server:
        server.engine.held = True
        assert deep(server.get(DEEP)) == "pending"
        num_asked = len(server.engine.seen)
        assert deep(server.get(DEEP)) == "pending"
        assert len(server.engine.seen) == num_asked, "the next one is not due yet"
        server.engine.held = False


@pytest.mark.model
def test_a_kernel_that_depends_on_the_batch_is_found_in_a_real_server(monkeypatch):
    true = ReplayForward.__call__

    def forward(self, batch):
        logits_RV = true(self, batch)
        return logits_RV if len(logits_RV) == 1 else logits_RV + np.float32(1e-4)

    engine = AsyncLLM(str(smollm2()), max_context=256, kv_memory="64MiB")
    with RunningServer(engine, self_check_s=0.0) as server:
        assert deep(server.get(DEEP)) == "holds"
        monkeypatch.setattr(ReplayForward, "__call__", forward)
        assert error_of(server.get(DEEP)) == (503, "self_check_failed")
        monkeypatch.undo()
        assert deep(server.get(DEEP)) == "holds"
    asyncio.run(engine.close())
