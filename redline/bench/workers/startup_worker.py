"""One start of Redline in a process of its own: says on stdout when each phase was over.

Started with a JSON object: model, prompt, engine (options). Times are those of the system's monotonic clock,
which the parent reads too.
"""

from __future__ import annotations

import time

BEGUN_S = time.monotonic()  # before anything else is imported

import json  # noqa: E402
import sys  # noqa: E402


def main() -> None:
    options = json.loads(sys.argv[1])
    from redline.config.sampling import SamplingParams
    from redline.llm import LLM

    moments = {"begun": BEGUN_S, "imported": time.monotonic()}
    llm = LLM(options["model"], **options["engine"])
    moments["loaded"] = time.monotonic()
    for _ in llm.stream(options["prompt"], SamplingParams(max_tokens=1, temperature=0.0, ignore_eos=True)):
        moments.setdefault("first token", time.monotonic())
    sys.stdout.write(json.dumps(moments) + "\n")


if __name__ == "__main__":
    main()
