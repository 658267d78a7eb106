"""llama.cpp with the prompt lookup of llama-cpp-python, or without, one request after the other.

The greedy answer of Llama.generate(), which is the way that package offers drafts. Beside the options of
serve.py: num_pred_tokens, the longest draft (0: none, and no lookup). With `tune`, flash attention on or off,
whichever is faster on the batch.
"""

from __future__ import annotations

import itertools
from typing import Any

import llama_cpp as api
from llama_cpp.llama_speculative import LlamaPromptLookupDecoding
from serve import Timeline, main


class LlamaCppLookup:
    def __init__(self, options: dict[str, Any]) -> None:
        self._options = options
        self._open: dict[bool, Any] = {}
        self._flash = True
        self.vocab_size = self._llama(True).n_vocab()

    @property
    def launch(self) -> str:
        num_tokens = self._options["num_pred_tokens"]
        drafts = f"LlamaPromptLookupDecoding(num_pred_tokens={num_tokens})" if num_tokens else "no drafts"
        return (
            f"llama-cpp-python {api.__version__}, {drafts}, flash attention {'on' if self._flash else 'off'}"
        )

    def generate(self, prompts: list[list[int]], output_tokens: list[int], tune: bool) -> Timeline:
        if tune:
            times = {flash: self._run(flash, prompts, output_tokens).events[-1][0] for flash in (True, False)}
            self._flash = min(times, key=lambda flash: times[flash])
        return self._run(self._flash, prompts, output_tokens)

    def _run(self, flash: bool, prompts: list[list[int]], output_tokens: list[int]) -> Timeline:
        llama = self._llama(flash)
        timeline = Timeline(len(prompts))
        for request, (prompt, wanted) in enumerate(zip(prompts, output_tokens, strict=True)):
            llama.reset()
            tokens = llama.generate(prompt, temp=0.0, top_k=1, repeat_penalty=1.0)
            for token in itertools.islice(tokens, wanted):
                timeline.add([(request, int(token))])
            tokens.close()
        return timeline

    def _llama(self, flash: bool) -> Any:
        if flash not in self._open:
            num_tokens, threads = self._options["num_pred_tokens"], self._options["threads"]
            self._open[flash] = api.Llama(
                self._options["model"],
                n_ctx=self._options["max_tokens"],
                n_threads=threads,
                n_threads_batch=threads,
                flash_attn=flash,
                draft_model=LlamaPromptLookupDecoding(num_pred_tokens=num_tokens) if num_tokens else None,
                verbose=False,
            )
        return self._open[flash]


def write_text(options: dict[str, Any], file: Any) -> None:
    raise RuntimeError("time to the first text is measured with llama_cpp_worker.py")


if __name__ == "__main__":
    main(LlamaCppLookup, write_text)
