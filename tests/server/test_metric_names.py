"""Names, types and labels of metrics are an interface: dashboards, autoscalers and gateways know them."""

import asyncio
import json
import re
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from redline import AsyncLLM
from tests.model_file import smollm2
from tests.server.running_server import RunningServer

DEPLOY = Path(__file__).parent.parent.parent / "deploy"

# Of all but process_*, which Prometheus's own library makes. Histograms have `le` besides.
OURS = {
    "cache_config_info": ("gauge", {"model_name", "block_size", "num_gpu_blocks"}),
    "cpu_cores": ("gauge", set()),
    "e2e_request_latency_seconds": ("histogram", {"model_name"}),
    "engine_stalled_seconds": ("gauge", {"model_name"}),
    "engine_stuck": ("gauge", {"model_name"}),
    "generation_tokens": ("counter", {"model_name"}),
    "http_request_duration_seconds": ("histogram", {"path"}),
    "http_requests": ("counter", {"path", "status"}),
    "http_requests_client_disconnected": ("counter", {"model_name"}),
    "inter_token_latency_seconds": ("histogram", {"model_name"}),
    "iteration_tokens_total": ("histogram", {"model_name"}),
    "kv_cache_bytes": ("gauge", {"model_name"}),
    "kv_cache_usage_perc": ("gauge", {"model_name"}),
    "lora_requests_info": ("gauge", {"max_lora", "running_lora_adapters", "waiting_lora_adapters"}),
    "model_weight_bytes": ("gauge", {"model_name"}),
    "num_preemptions": ("counter", {"model_name"}),
    "num_requests_running": ("gauge", {"model_name"}),
    "num_requests_waiting": ("gauge", {"model_name"}),
    "offload_loaded_tokens": ("counter", {"model_name"}),
    "offload_spilled_blocks": ("counter", {"model_name"}),
    "prefix_cache_evictions": ("counter", {"model_name"}),
    "prefix_cache_hit_requests": ("counter", {"model_name"}),
    "prefix_cache_hits": ("counter", {"model_name"}),
    "prefix_cache_queries": ("counter", {"model_name"}),
    "prompt_tokens": ("counter", {"model_name"}),
    "prompt_tokens_by_source": ("counter", {"model_name", "source"}),
    "prompt_tokens_cached": ("counter", {"model_name"}),
    "ready": ("gauge", {"model_name"}),
    "request_decode_time_seconds": ("histogram", {"model_name"}),
    "request_generation_tokens": ("histogram", {"model_name"}),
    "request_inference_time_seconds": ("histogram", {"model_name"}),
    "request_num_preemptions": ("histogram", {"model_name"}),
    "request_params_max_tokens": ("histogram", {"model_name"}),
    "request_params_n": ("histogram", {"model_name"}),
    "request_prefill_kv_computed_tokens": ("histogram", {"model_name"}),
    "request_prefill_time_seconds": ("histogram", {"model_name"}),
    "request_prompt_tokens": ("histogram", {"model_name"}),
    "request_queue_time_seconds": ("histogram", {"model_name"}),
    "request_residence_seconds_mean": ("gauge", {"model_name"}),
    "request_success": ("counter", {"model_name", "finished_reason"}),
    "request_time_per_output_token_seconds": ("histogram", {"model_name"}),
    "requests_aborted": ("counter", {"model_name"}),
    "requests_arrived": ("counter", {"model_name"}),
    "requests_finished": ("counter", {"model_name"}),
    "requests_in_flight": ("gauge", {"model_name"}),
    "requests_in_flight_mean": ("gauge", {"model_name"}),
    "requests_refused": ("counter", {"model_name"}),
    "roofline_fraction": ("gauge", set()),  # no sample before `redline hardware` has run
    "roofline_least_seconds": ("counter", {"model_name"}),
    "roofline_measured_seconds": ("counter", {"model_name"}),
    "spec_decode_num_accepted_tokens": ("counter", {"model_name"}),
    "spec_decode_num_draft_tokens": ("counter", {"model_name"}),
    "spec_decode_steps": ("counter", {"model_name", "method", "outcome"}),
    "step_batch_size": ("histogram", {"model_name"}),
    "step_seconds": ("histogram", {"model_name"}),
    "step_to_wire_seconds": ("histogram", {"model_name"}),
    "time_to_first_token_seconds": ("histogram", {"model_name"}),
}
VLLM = {
    "cache_config_info", "e2e_request_latency_seconds", "generation_tokens", "iteration_tokens_total",
    "http_requests_client_disconnected", "inter_token_latency_seconds", "kv_cache_usage_perc",
    "lora_requests_info", "num_preemptions", "num_requests_running", "num_requests_waiting",
    "prefix_cache_hits", "prefix_cache_queries", "prompt_tokens", "prompt_tokens_by_source",
    "prompt_tokens_cached", "request_decode_time_seconds", "request_generation_tokens",
    "request_inference_time_seconds", "request_num_preemptions", "request_params_max_tokens",
    "request_params_n", "request_prefill_kv_computed_tokens", "request_prefill_time_seconds",
    "request_prompt_tokens", "request_queue_time_seconds", "request_success",
    "request_time_per_output_token_seconds", "spec_decode_num_accepted_tokens",
    "spec_decode_num_draft_tokens", "time_to_first_token_seconds",
}  # fmt: skip
PROCESS = {
    "process_cpu_seconds",
    "process_resident_memory_bytes",
    "process_open_fds",
    "process_start_time_seconds",
}


def families(server):
    """Type and labels by name, and the samples. Counters come without `_total`, as the parser names them."""
    server.post("/v1/completions", {"model": server.engine.model_name, "prompt": "a b", "max_tokens": 3})
    parsed = list(text_string_to_metric_families(server.get("/metrics")[2].decode()))
    assert len({each.name for each in parsed}) == len(parsed), "a family comes twice"
    return {each.name: (each.type, _labels(each), each.samples) for each in parsed}


def _labels(family):
    return {name for sample in family.samples for name in sample.labels} - {"le"}


def test_names_types_and_labels_are_frozen(server):
    found = {name: (kind, labels) for name, (kind, labels, _) in families(server).items()}
    expected = {f"redline:{name}": each for name, each in OURS.items()}
    expected |= {f"vllm:{name}": OURS[name] for name in VLLM}
    assert {name: each for name, each in found.items() if not name.startswith("process_")} == expected
    assert found.keys() >= PROCESS


def test_gateways_find_the_gauges_that_they_route_by(server):
    """Of the model server protocol of the Gateway API inference extension, under vLLM's names."""
    found = families(server)
    for name in ("num_requests_waiting", "num_requests_running", "kv_cache_usage_perc"):
        kind, _, (sample,) = found[f"vllm:{name}"]
        assert kind == "gauge" and sample.value == 0
    ((adapters,), (cache,)) = (found[f"vllm:{name}_info"][2] for name in ("lora_requests", "cache_config"))
    assert adapters.labels == {"max_lora": "0", "running_lora_adapters": "", "waiting_lora_adapters": ""}
    assert adapters.value > 1e9, "a time"
    assert cache.labels["num_gpu_blocks"] == "64" and cache.value == 1


@pytest.fixture(scope="module")
def real():
    """The real engine behind the real server."""
    engine = AsyncLLM(str(smollm2()), max_context=256, max_batch=4)
    try:
        with RunningServer(engine) as running:
            yield running
    finally:
        asyncio.run(engine.close())


@pytest.mark.model
def test_the_real_engine_fills_them(real):
    found = families(real)

    def value(name, **labels):
        samples = [sample for each in found.values() for sample in each[2] if sample.name == name]
        return sum(sample.value for sample in samples if labels.items() <= sample.labels.items())

    assert value("redline:step_seconds_count") >= 3 and value("redline:step_seconds_sum") > 0
    assert value("vllm:iteration_tokens_total_sum") >= value("redline:prompt_tokens_total")
    assert value("redline:model_weight_bytes") > 5e7 and value("redline:kv_cache_bytes") > 1e6
    assert value("process_resident_memory_bytes") > value("redline:model_weight_bytes")
    assert value("redline:http_requests_total", path="/v1/completions", status="200") >= 1
    body = {"model": real.engine.model_name, "prompt": "Once", "max_tokens": 6, "stream": True}
    real.post("/v1/completions", {**body, "ignore_eos": True})
    found = families(real)
    assert value("redline:step_to_wire_seconds_count") == 6


@pytest.mark.model
def test_the_dashboard_and_the_alerts_ask_for_metrics_that_exist(real):
    found = families(real)
    dashboard = json.loads((DEPLOY / "grafana/redline.json").read_text())
    panels = [panel for panel in dashboard["panels"] if panel["type"] != "row"]
    asked = [target["expr"] for panel in panels for target in panel["targets"]]
    asked.append((DEPLOY / "prometheus/alerts.yml").read_text())
    assert len(panels) >= 15
    for text in asked:
        for name in re.findall(r"\b(?:redline:|process_)\w+", text):
            family = found.get(re.sub(r"_(total|bucket|sum|count)$", "", name)) or found.get(name)
            assert family is not None, f"{name} in {text}"
            for suffix in ("_bucket", "_sum", "_count"):
                assert not name.endswith(suffix) or family[0] == "histogram", name
            assert name.endswith("_total") == (family[0] == "counter"), name


def test_panels_of_the_dashboard_lie_beside_each_other():
    dashboard = json.loads((DEPLOY / "grafana/redline.json").read_text())
    taken = set()
    for panel in dashboard["panels"]:
        x, y, w, h = (panel["gridPos"][name] for name in "xywh")
        cells = {(column, line) for column in range(x, x + w) for line in range(y, y + h)}
        assert x + w <= 24 and not cells & taken, panel["title"]
        taken |= cells
    ids = [panel["id"] for panel in dashboard["panels"]]
    assert len(set(ids)) == len(ids)
