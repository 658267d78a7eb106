"""A process that uses all of its memory budget, and says what it held.

    python -m tests.engine.memory_user MODEL OPTIONS    # OPTIONS: JSON, fields of EngineConfig

Prints JSON: the budget's sum, and the most physical memory the process had (VmHWM): its own pages and, while
mapped, those of files, some 24 MiB of code. Pages of the model file are dropped tensor by tensor while it is
loaded, when the K/V cache is still empty, so at the peak none is left.
"""

import json
import random
import sys

from redline import LLM, SamplingParams
from redline.config.memory import describe
from redline.core.trace import EVERYONE
from redline.engine.memory import peak_rss_bytes


def use_everything(llm):
    """The largest steps, a graph for each size of batch and width of table, all blocks, all of the trace."""
    draw = random.Random(5)
    batch, blocks = llm.config.max_batch, llm.stats().num_blocks
    longest = min(llm.max_context, blocks * llm.config.block_size) - 2 * batch - 8
    for width in (longest, longest // 2, longest // 4, longest // 8):
        lengths = [max(width, 4)] + [4] * (batch - 1)
        params = [
            SamplingParams(
                max_tokens=2 * batch - index, ignore_eos=True, temperature=0.5 * (index % 2), logprobs=3
            )
            for index in range(batch)
        ]
        llm.generate([[draw.randrange(9, 9999) for _ in range(length)] for length in lengths], params)
    kv = llm._engine._kv
    for group in range(kv.num_groups):
        for cache in kv.caches(group):
            cache[...] = 0  # as if tokens had been stored in each block
    trace = llm._engine.scheduler.trace
    for _ in range(llm.config.trace_events or 0):
        trace.record(EVERYONE, "step", 1, 2, 3, 4, 5)


if __name__ == "__main__":
    llm = LLM(sys.argv[1], **json.loads(sys.argv[2]))
    use_everything(llm)
    print(
        json.dumps(
            {"predicted": llm.memory.total_bytes, "used": peak_rss_bytes(), "lines": describe(llm.memory)}
        )
    )
