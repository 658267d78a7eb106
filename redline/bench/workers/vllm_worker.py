"""vLLM's CPU build, step by step. It reads a float32 checkpoint that transformers makes of the GGUF file."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

from serve import Timeline, main

KV_GIB = "4"


class VLLM:
    def __init__(self, options: dict[str, Any]) -> None:
        prepare(options)
        import vllm

        settings = {
            "dtype": "float32",
            "max_model_len": options["max_tokens"],
            "max_num_seqs": options["max_sequences"],
            "max_num_batched_tokens": max(2048, options["max_tokens"]),
            "enable_prefix_caching": options["prefix_caching"],
            "seed": 0,
        }
        llm = vllm.LLM(model=str(checkpoint(options)), disable_log_stats=True, **settings)
        self._engine = llm.llm_engine
        self._params = vllm.SamplingParams
        self.vocab_size = self._engine.model_config.get_vocab_size()
        described = ", ".join(f"{name}={value}" for name, value in settings.items())
        self.launch = f"vLLM {vllm.__version__} for CPUs: {described}"
        self._next_id = 0

    def generate(self, prompts: list[list[int]], output_tokens: list[int], tune: bool) -> Timeline:
        timeline = Timeline(len(prompts))
        first_id = self._next_id
        for prompt, count in zip(prompts, output_tokens, strict=True):
            params = self._params(max_tokens=count, temperature=0.0, ignore_eos=True, detokenize=False)
            self._engine.add_request(str(self._next_id), {"prompt_token_ids": prompt}, params)
            self._next_id += 1
        while self._engine.has_unfinished_requests():
            tokens = []
            for output in self._engine.step():
                request = int(output.request_id.split("-")[0]) - first_id
                new = output.outputs[0].token_ids[len(timeline.ids[request]) :]
                tokens += [(request, token) for token in new]
            timeline.add(tokens)
        return timeline


def prepare(options: dict[str, Any]) -> None:
    """vLLM reads these when it is imported; it would otherwise bind threads to cores and start processes."""
    os.environ["VLLM_CPU_OMP_THREADS_BIND"] = "nobind"
    os.environ["OMP_NUM_THREADS"] = str(options["threads"])
    os.environ["VLLM_CPU_KVCACHE_SPACE"] = KV_GIB
    os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"
    os.environ["VLLM_NO_USAGE_STATS"] = "1"


def checkpoint(options: dict[str, Any]) -> Path:
    """The directory of the float32 twin, made once."""
    source = Path(options["model"])
    target = Path(options["twins"]) / f"{source.stem}.{source.stat().st_size}.float32"
    if target.exists():
        return target
    import torch
    import transformers

    target.parent.mkdir(parents=True, exist_ok=True)
    unfinished = target.with_suffix(".part")
    shutil.rmtree(unfinished, ignore_errors=True)
    folder, name = str(source.parent), source.name
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, gguf_file=name, dtype=torch.float32)
    # Some versions still call it quantised, and would refuse to save it; the weights are float32 by now.
    model.hf_quantizer = None
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    model.save_pretrained(unfinished)
    transformers.AutoTokenizer.from_pretrained(folder, gguf_file=name).save_pretrained(unfinished)
    unfinished.rename(target)
    return target


def write_text(options: dict[str, Any], file: Any) -> None:
    prepare(options)
    import vllm

    llm = vllm.LLM(model=str(checkpoint(options)), dtype="float32", max_model_len=options["max_tokens"])
    params = vllm.SamplingParams(max_tokens=8, temperature=0.0)
    llm.llm_engine.add_request("0", options["prompt"], params)
    written = 0
    while llm.llm_engine.has_unfinished_requests():
        for output in llm.llm_engine.step():
            text = output.outputs[0].text
            file.write(text[written:])
            file.flush()
            written = len(text)


if __name__ == "__main__":
    main(VLLM, write_text)
