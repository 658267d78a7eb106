"""OpenVINO GenAI through its continuous-batching pipeline, which reads GGUF itself."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import openvino
import openvino_genai as genai
from serve import Timeline, main

SCHEDULER = {"max_num_batched_tokens": 2048, "cache_size": 4}


class OpenVINO:
    def __init__(self, options: dict[str, Any]) -> None:
        scheduler = genai.SchedulerConfig()
        settings = {
            **SCHEDULER,
            "enable_prefix_caching": options["prefix_caching"],
            "max_num_seqs": options["max_sequences"],
        }
        for name, value in settings.items():
            setattr(scheduler, name, value)
        properties = {"INFERENCE_NUM_THREADS": options["threads"], **precision()}
        self._pipeline = genai.ContinuousBatchingPipeline(options["model"], scheduler, "CPU", properties)
        self.vocab_size = len(self._pipeline.get_tokenizer().get_vocab())
        described = ", ".join(f"{name}={value}" for name, value in {**settings, **properties}.items())
        self.launch = f"openvino-genai {genai.__version__}, ContinuousBatchingPipeline({described})"
        self._next_id = 0

    def generate(self, prompts: list[list[int]], output_tokens: list[int], tune: bool) -> Timeline:
        timeline = Timeline(len(prompts))
        handles = {}
        for request, (prompt, count) in enumerate(zip(prompts, output_tokens, strict=True)):
            tensor = openvino.Tensor(np.array([prompt], np.int64))
            handles[request] = self._pipeline.add_request(self._next_id, tensor, greedy(count))
            self._next_id += 1
        while self._pipeline.has_non_finished_requests():
            self._pipeline.step()
            timeline.add(new_tokens(handles))
        return timeline


def precision() -> dict[str, str]:
    """Held to AVX2, oneDNN lacks the kernels that the plugin would choose on a wider machine."""
    if os.environ.get("ONEDNN_MAX_CPU_ISA") != "AVX2":
        return {}
    return {"INFERENCE_PRECISION_HINT": "f32", "DYNAMIC_QUANTIZATION_GROUP_SIZE": "0"}


def greedy(count: int) -> Any:
    config = genai.GenerationConfig()
    config.max_new_tokens = count
    config.ignore_eos = True
    config.do_sample = False
    return config


def new_tokens(handles: dict[int, Any]) -> list[tuple[int, int]]:
    """(request, token) of what the last step made."""
    tokens = []
    for request, handle in handles.items():
        while handle.can_read():
            for output in handle.read().values():
                tokens += [(request, token) for token in output.generated_ids]
    return tokens


def write_text(options: dict[str, Any], file: Any) -> None:
    def put(text: str) -> None:
        file.write(text)
        file.flush()

    pipeline = genai.LLMPipeline(
        options["model"], "CPU", INFERENCE_NUM_THREADS=options["threads"], **precision()
    )
    config = greedy(8)
    config.apply_chat_template = False
    pipeline.generate(options["prompt"], config, put)


if __name__ == "__main__":
    main(OpenVINO, write_text)
