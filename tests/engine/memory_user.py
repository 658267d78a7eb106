"""A process that uses all of its memory budget, and says what it held.

    python -m tests.engine.memory_user LLM|AsyncLLM MODEL OPTIONS    # OPTIONS: JSON, fields of EngineConfig

Prints JSON: the budget's sum, and the most physical memory that the process had (VmHWM). That counts mapped
pages of files too. At its peak those are code, some 24 MiB: pages of the model file are dropped tensor by
tensor while it is loaded, when the K/V cache is still empty.
"""

import asyncio
import json
import random
import sys

from redline import LLM, AsyncLLM, SamplingParams
from redline.config.engine import parse_bytes
from redline.config.memory import describe
from redline.core.trace import EVERYONE
from redline.decoding.speculative.depth import Depth
from redline.engine import model_speculation
from redline.engine.memory import peak_rss_bytes


def run(llm, prompts, params):
    """All requests at once."""
    if isinstance(llm, LLM):
        llm.generate(prompts, params)
        return

    async def read(*request):
        async for _ in llm.stream(*request):
            pass

    async def read_all():
        await asyncio.gather(*(read(*request) for request in zip(prompts, params, strict=True)))

    asyncio.run(read_all())


def use_everything(llm):
    """The largest steps, also of scoring, a graph for each size of batch and width of table, all blocks, all
    of the trace."""
    draw = random.Random(5)
    batch, blocks = llm.config.max_batch, llm.stats().num_blocks
    draft_by_chance(draw)
    longest = min(llm.max_context, blocks * llm.config.block_size) - 2 * batch - 8
    for length in (longest, longest // 2, longest // 4, longest // 8):
        lengths = [max(length, 4)] + [4] * (batch - 1)
        prompts = [[draw.randrange(9, 9999) for _ in range(length)] for length in lengths]
        params = [_params(2 * batch - index, temperature=0.5 * (index % 2)) for index in range(batch)]
        run(llm, prompts, params)
    scored = [draw.randrange(9, 9999) for _ in range(longest)]
    run(llm, [scored], [SamplingParams(max_tokens=0, prompt_logprobs=3)])
    kv = llm._engine._kv
    caches = [kv] if llm.config.speculative is None else [kv, _draft_forward(llm)._kv]
    for each in caches:
        for group in range(each.num_groups):
            for cache in each.caches(group):
                cache[...] = 0  # as if tokens had been stored in each block
    if llm.config.offload_memory is not None:
        for number in range(parse_bytes("offload_memory", llm.config.offload_memory) // kv.block_bytes(0)):
            llm._engine._reload._tier.spill(0, number.to_bytes(16), 0)
    trace = llm._engine.scheduler.trace
    for _ in range(llm.config.trace_events or 0):
        trace.record(EVERYONE, "step", 1, 2, 3, 4, 5)


def draft_by_chance(draw):
    """Drafts of all lengths, so that all sizes of steps and passes are recorded."""

    def depth(chances, most, num_rows, max_rows, step_cost, draft_cost):
        num_seqs = draw.randint(1, len(chances))
        return Depth(num_seqs, draw.randint(1, min(most, (max_rows - num_rows) // num_seqs)))

    model_speculation.draft_depth = depth


def _draft_forward(llm):
    return llm._engine._speculation._proposer._passes._forward


def _params(max_tokens, **options):
    return SamplingParams(max_tokens=max_tokens, ignore_eos=True, logprobs=3, **options)


if __name__ == "__main__":
    llm = {"LLM": LLM, "AsyncLLM": AsyncLLM}[sys.argv[1]](sys.argv[2], **json.loads(sys.argv[3]))
    use_everything(llm)
    used = peak_rss_bytes()
    if isinstance(llm, AsyncLLM):
        asyncio.run(llm.close())
    result = {"predicted": llm.memory.total_bytes, "used": used, "lines": describe(llm.memory)}
    print(json.dumps(result))
