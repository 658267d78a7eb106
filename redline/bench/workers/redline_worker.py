"""Redline through its public API: LLM.generate of the whole batch."""

from __future__ import annotations

import itertools
import runpy
import sys
from typing import Any

from serve import Timeline, main


class Redline:
    def __init__(self, options: dict[str, Any]) -> None:
        from redline.bench.footprint import footprint
        from redline.llm import LLM

        settings = {
            "threads": options["threads"],
            "prefix_cache": options["prefix_caching"],
            "max_context": options["max_tokens"],
            "max_batch": options["max_sequences"],
            **options["engine"],
        }
        self._llm = LLM(options["model"], **settings)
        self.vocab_size = self._llm.spec.vocab_size
        self.launch = f"LLM(model, {', '.join(f'{name}={value}' for name, value in settings.items())})"
        self.facts = {"footprint": footprint(self._llm)}

    def generate(self, prompts: list[list[int]], output_tokens: list[int], tune: bool) -> Timeline:
        from redline.config.sampling import SamplingParams

        params = [SamplingParams(max_tokens=n, temperature=0.0, ignore_eos=True) for n in output_tokens]
        timeline = Timeline(len(prompts))
        start_s = timeline.start_s
        events: dict[float, int] = {}
        for request, output in enumerate(self._llm.generate(prompts, params)):
            metrics = output.metrics
            first_s = metrics.arrival_s - start_s + metrics.ttft_s
            timeline.first_s[request] = first_s
            timeline.ids[request] = output.choices[0].token_ids
            for time_s in itertools.accumulate(metrics.itl_s, initial=first_s):
                events[time_s] = events.get(time_s, 0) + 1
        timeline.events = sorted(events.items())
        return timeline


def write_text(options: dict[str, Any], file: Any) -> None:
    """What a user starts: the command itself."""
    flags = ["--max-tokens", "8", "--raw", "--model", options["model"], "--threads", str(options["threads"])]
    sys.argv = ["redline", "generate", options["prompt"], *flags]
    sys.stdout = file
    runpy.run_module("redline.cli.main", run_name="__main__")


if __name__ == "__main__":
    main(Redline, write_text)
