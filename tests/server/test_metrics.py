"""What Prometheus reads."""

import asyncio
import json

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.server.fake_engine import FakeEngine
from tests.server.running_server import RunningServer, eventually, post_bytes


def samples(server):
    status, headers, body = server.get("/metrics")
    assert status == 200 and headers["content-type"].startswith("text/plain; version=0.0.4")
    families = text_string_to_metric_families(body.decode())
    return {
        (sample.name, *sorted((k, v) for k, v in sample.labels.items() if k != "model_name")): sample.value
        for family in families
        for sample in family.samples
    }


def test_names_of_vllm_and_our_own_have_the_same_values(own_server):
    body = {"model": "fake-model", "prompt": "abc", "max_tokens": 5, "n": 2}
    assert own_server.post("/v1/completions", body)[0] == 200
    got = samples(own_server)
    expected = {
        "num_requests_running": 0,
        "num_requests_waiting": 0,
        "kv_cache_usage_perc": 0,
        "num_preemptions_total": 0,
        "prompt_tokens_total": 3,
        "generation_tokens_total": 10,
        "prefix_cache_queries_total": 3,
        "prefix_cache_hits_total": 3,
        "http_requests_client_disconnected_total": 0,
        "request_prompt_tokens_sum": 3,
        "request_generation_tokens_sum": 10,
        "request_params_n_sum": 2,
        "request_params_max_tokens_sum": 5,
        "request_num_preemptions_count": 1,
        "time_to_first_token_seconds_sum": 0.5,
        "inter_token_latency_seconds_sum": 9 * 0.125,
        "inter_token_latency_seconds_count": 9,
        "request_time_per_output_token_seconds_sum": 0.125,
        "e2e_request_latency_seconds_sum": 2.0,
        "request_queue_time_seconds_sum": 0.25,
        "request_inference_time_seconds_sum": 1.75,
        "request_prefill_time_seconds_sum": 0.25,
        "request_decode_time_seconds_sum": 1.5,
    }
    for prefix in ("vllm:", "redline:"):
        for name, value in expected.items():
            assert got.get((prefix + name,)) == value, name
        assert got[(prefix + "request_success_total", ("finished_reason", "length"))] == 2
    assert not any(name[0].endswith("_created") for name in got)


def test_steps_are_counted_by_what_became_of_guessing(own_server):
    got = samples(own_server)
    for outcome, count in (("drafted", 2), ("does not pay", 5)):
        labels = (("method", "ngram"), ("outcome", outcome))
        assert got[("redline:spec_decode_steps_total", *labels)] == count


def test_gauges_show_what_runs_and_waits():
    engine = FakeEngine(capacity=1)
    engine.held = True
    with RunningServer(engine) as server, server.connect() as connection:
        body = {"model": "fake-model", "prompt": ["a", "b", "c"], "max_tokens": 5}
        connection.sendall(post_bytes("/v1/completions", json.dumps(body).encode()))
        eventually(lambda: len(engine.waiting) == 2, "two wait")
        got = samples(server)
        assert got[("vllm:num_requests_running",)] == 1 and got[("vllm:num_requests_waiting",)] == 2
        assert got[("vllm:kv_cache_usage_perc",)] == 1


def test_hostile_requests_add_no_series(own_server):
    server = own_server
    server.post("/v1/completions", {"model": "fake-model", "prompt": "x", "max_tokens": 1})
    _hostile(server, 0)
    samples(server)  # the request for them is one more path
    before = samples(server).keys()
    for number in range(1, 20):
        _hostile(server, number)
    assert samples(server).keys() == before
    assert {dict(labels)["path"] for name, *labels in before if name == "redline:http_requests_total"} == {
        "/v1/completions", "/v1/models/{name:path}", "/metrics", "other"
    }  # fmt: skip


def _hostile(server, number):
    for line in (f"BREW{number} /p{number}", f"GET /v1/models/m{number}", f"M{number} /v1/completions"):
        server.raw(f"{line} HTTP/1.1\r\nHost: 127.0.1.{number}\r\nConnection: close\r\n\r\n".encode())
    server.post("/v1/completions", {"model": f"m{number}", "prompt": "x", "user": f"u{number}"})


def test_health_answers_while_a_long_prompt_is_encoded(own_server):
    """Tokenising happens in a worker thread, so it does not hold up anybody else."""
    engine = own_server.engine
    encode = engine.encode_prompt
    threads = []

    def slow_encode(prompt):
        with pytest.raises(RuntimeError):
            asyncio.get_running_loop()
        threads.append(own_server.get("/health")[0])  # would deadlock on the event loop
        return encode(prompt)

    engine.encode_prompt = slow_encode
    body = {"model": "fake-model", "prompt": "x", "max_tokens": 1}
    assert own_server.post("/v1/completions", body)[0] == 200
    assert threads == [200]


def test_a_request_is_explained_by_the_id_of_its_answer(own_server):
    body = {"model": "fake-model", "prompt": ["abc", "def"], "max_tokens": 2}
    answer = json.loads(own_server.post("/v1/completions", body)[2])
    status, _, told = own_server.get(f"/v1/redline/requests/{answer['id']}")
    prompt = {"choices": [["+0.000 s: queued"]]}
    assert status == 200
    assert json.loads(told) == {"id": answer["id"], "object": "redline.request", "prompts": [prompt, prompt]}


def test_a_request_is_explained_to_the_key_that_asked_alone():
    body = {"model": "fake-model", "prompt": "abc", "max_tokens": 2}
    with RunningServer(api_keys=("sk-alice-123", "sk-bob-45678")) as server:

        def explained(request_id, key):
            head = (
                f"GET /v1/redline/requests/{request_id} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
            )
            return server.raw(f"{head}x-api-key: {key}\r\n\r\n".encode())[0]

        request_id = json.loads(server.post("/v1/completions", body, x_api_key="sk-alice-123")[2])["id"]
        assert explained(request_id, "sk-alice-123") == 200
        for spelling in (request_id, f"api-key-1/{request_id}", f"api-key-1%2F{request_id}"):
            assert explained(spelling, "sk-bob-45678") == 404


def test_an_unknown_request_is_a_404(own_server):
    status, _, body = own_server.get("/v1/redline/requests/cmpl-none")
    assert status == 404 and json.loads(body)["error"]["code"] == "request_not_found"
