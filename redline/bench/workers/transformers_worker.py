"""transformers on torch's CPU build. It reads GGUF by dequantising it to float32 on its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import transformers
from serve import Timeline, main

MAX_BATCH = 32  # answers that it computes at once; the longest of a batch holds up the others


class Transformers:
    def __init__(self, options: dict[str, Any]) -> None:
        self._model = open_model(options)
        self.vocab_size = self._model.config.vocab_size
        self.launch = (
            f"transformers {transformers.__version__}, torch {torch.__version__}, float32, "
            f"{self._model.config._attn_implementation} attention, batches of at most {MAX_BATCH}"
        )

    def generate(self, prompts: list[list[int]], output_tokens: list[int], tune: bool) -> Timeline:
        """Batches of similar length, the longest answers together: what static batching does best."""
        timeline = Timeline(len(prompts))
        order = sorted(range(len(prompts)), key=lambda i: (output_tokens[i], len(prompts[i])))
        for start in range(0, len(order), MAX_BATCH):
            self._batch(order[start : start + MAX_BATCH], prompts, output_tokens, timeline)
        return timeline

    @torch.inference_mode()
    def _batch(
        self, requests: list[int], prompts: list[list[int]], output_tokens: list[int], timeline: Timeline
    ) -> None:
        longest = max(len(prompts[request]) for request in requests)
        mask = torch.zeros(len(requests), longest, dtype=torch.long)
        ids = torch.zeros_like(mask)
        for row, request in enumerate(requests):
            ids[row, longest - len(prompts[request]) :] = torch.tensor(prompts[request])
            mask[row, longest - len(prompts[request]) :] = 1

        def note(so_far: Any, scores: Any, **_: Any) -> Any:
            step = so_far.shape[1] - longest
            tokens = so_far[:, -1].tolist()
            timeline.add(
                (request, token)
                for request, token in zip(requests, tokens, strict=True)
                if step <= output_tokens[request]
            )
            return torch.zeros(len(requests), dtype=torch.bool)

        self._model.generate(
            ids,
            attention_mask=mask,
            do_sample=False,
            max_new_tokens=max(output_tokens[request] for request in requests),
            stopping_criteria=transformers.StoppingCriteriaList([note]),
        )


def open_model(options: dict[str, Any]) -> Any:
    torch.set_num_threads(options["threads"])
    path = Path(options["model"])
    model = transformers.AutoModelForCausalLM.from_pretrained(
        str(path.parent), gguf_file=path.name, dtype=torch.float32
    )
    model.generation_config.eos_token_id = None
    model.generation_config.pad_token_id = 0
    model.eval()
    return model


def write_text(options: dict[str, Any], file: Any) -> None:
    path = Path(options["model"])
    tokenizer = transformers.AutoTokenizer.from_pretrained(str(path.parent), gguf_file=path.name)
    model = open_model(options)

    class Writer(transformers.TextStreamer):
        def on_finalized_text(self, text: str, stream_end: bool = False) -> None:
            file.write(text)
            file.flush()

    ids = tokenizer(options["prompt"], return_tensors="pt")
    model.generate(**ids, do_sample=False, max_new_tokens=8, streamer=Writer(tokenizer, skip_prompt=True))


if __name__ == "__main__":
    main(Transformers, write_text)
