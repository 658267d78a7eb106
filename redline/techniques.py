"""One row per optimisation: where it lives, how to switch it off, what it promises.

`redline techniques` prints the table; docs/techniques.md holds it too, with a paragraph on each. A test
compares the two, and checks that every file and every switch exists.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

ALWAYS_ON = "always on"
# Against `transformers` in float32 on the dequantised weights, SmolLM2, English text.
INT8_BOUND = "against float32 on the same weights: top-1 agreement >= 97 %, mean KL divergence <= 0.0024"
# Against an f32 cache in the second half of a text of 4,096 tokens (tests/test_kv_formats.py).
F16_BOUND = "against an f32 cache, with float kernels: top-1 agreement >= 99.5 %, mean KL divergence <= 1e-5"
BF16_KV_BOUND = "against an f32 cache, with float kernels: top-1 agreement >= 98.5 %, mean KL <= 1e-4"
INT8_KV_BOUND = "against an f32 cache, with float kernels: top-1 agreement >= 97 %, mean KL <= 0.001"
FP8_KV_BOUND = "against an f32 cache, with float kernels: top-1 agreement >= 93 %, mean KL <= 0.01"
INT4_KV_BOUND = "against an f32 cache, with float kernels: top-1 agreement >= 85 %, mean KL <= 0.06"


@dataclass(frozen=True, slots=True, kw_only=True)
class Technique:
    """`promise` says what switching it on may change.

    exact: nothing; the same tokens, bit for bit. tolerance: the rounding of floats. bound: `limit` says how
    much.
    """

    name: str
    file: str  # relative to the checkout
    switch: str  # the option of EngineConfig that gives the baseline, or ALWAYS_ON
    promise: Literal["exact", "tolerance", "bound"]
    summary: str
    paper: str
    limit: str = ""
    needs: tuple[str, ...] = ()
    excludes: tuple[str, ...] = ()


TECHNIQUES = (
    # Which tokens run, and when.
    Technique(
        name="continuous-batching",
        file="redline/core/scheduler.py",
        switch="batching=static",
        promise="exact",
        summary="The batch is put together anew for every step: requests join and leave between tokens.",
        paper="Yu et al., Orca, OSDI 2022",
        needs=("batch-invariance",),
    ),
    Technique(
        name="selective-batching",
        file="redline/engine/prepare.py",
        switch=ALWAYS_ON,
        promise="exact",
        summary="Tokens of all requests share one flat axis; only attention tells requests apart.",
        paper="Yu et al., Orca, OSDI 2022",
        needs=("batch-invariance",),
    ),
    Technique(
        name="chunked-prefill",
        file="redline/core/chunked_prefill.py",
        switch="chunked_prefill=None",
        promise="exact",
        summary="Long prompts are cut into chunks that share the token budget of a step with decodes.",
        paper="Agrawal et al., Sarathi-Serve, OSDI 2024, arXiv:2403.02310",
        needs=("batch-invariance",),
    ),
    Technique(
        name="prompt-share",
        file="redline/core/scheduler.py",
        switch="prompt_share=1.0",
        promise="exact",
        summary="A prompt that cannot end in a step takes only its share of it while others want some.",
        paper="common practice",
        needs=("chunked-prefill",),
    ),
    Technique(
        name="step-time",
        file="redline/core/step_time.py",
        switch="step_time=0.015",
        promise="exact",
        summary="Prompts take what fits a target time of a step while the batch has room: nobody waits long.",
        paper="Agrawal et al., Sarathi-Serve, OSDI 2024, arXiv:2403.02310",
        needs=("chunked-prefill",),
    ),
    Technique(
        name="decode-first",
        file="redline/core/scheduler.py",
        switch="prefill_first=True",
        promise="exact",
        summary="Decodes go before prompts in a step; the baseline is the reverse.",
        paper="Agrawal et al., Sarathi-Serve, OSDI 2024, arXiv:2403.02310",
    ),
    Technique(
        name="admission-order",
        file="redline/core/order.py",
        switch="order=shortest",
        promise="exact",
        summary="Who is admitted first: first come, priority, shortest, longest cached prefix, deadline.",
        paper="Zheng et al., SGLang, 2024, arXiv:2312.07104; Liu & Layland, JACM 1973",
    ),
    Technique(
        name="fair-order",
        file="redline/core/fairness.py",
        switch="order=fair",
        promise="exact",
        summary="A counter of served tokens per tenant; the tenant that got least is admitted first.",
        paper="Sheng et al., Fairness in Serving LLMs, OSDI 2024, arXiv:2401.00588",
    ),
    Technique(
        name="recompute-preemption",
        file="redline/core/preemption.py",
        switch=ALWAYS_ON,
        promise="exact",
        summary="Without memory the latest request gives its blocks back, to be computed or loaded later.",
        paper="Kwon et al., vLLM, SOSP 2023, arXiv:2309.06180",
        needs=("paged-cache", "batch-invariance"),
    ),
    Technique(
        name="needed-logits",
        file="redline/engine/prepare.py",
        switch=ALWAYS_ON,
        promise="exact",
        summary="Only rows that are sampled reach the output projection: one per prompt, not one per token.",
        paper="common practice",
    ),
    # The key/value cache.
    Technique(
        name="kv-cache",
        file="redline/cache/paged.py",
        switch=ALWAYS_ON,
        promise="exact",
        summary="Keys and values are kept, so that a new token costs one row of work, not the whole prompt.",
        paper="Shazeer, Fast Transformer Decoding, 2019, arXiv:1911.02150",
    ),
    Technique(
        name="paged-cache",
        file="redline/core/blocks.py",
        switch=ALWAYS_ON,
        promise="exact",
        summary="The cache is cut into blocks that are handed out as sequences grow.",
        paper="Kwon et al., vLLM, SOSP 2023, arXiv:2309.06180",
        needs=("kv-cache",),
    ),
    Technique(
        name="copy-on-write",
        file="redline/core/block_tables.py",
        switch=ALWAYS_ON,
        promise="exact",
        summary="The answers of one request (n > 1) share the blocks of its prompt until one of them writes.",
        paper="Kwon et al., vLLM, SOSP 2023, arXiv:2309.06180",
        needs=("paged-cache",),
    ),
    Technique(
        name="prefix-reuse",
        file="redline/core/radix.py",
        switch="prefix_cache=False",
        promise="exact",
        summary="Blocks of ended requests stay, in a radix tree, for prompts that begin alike.",
        paper="Zheng et al., SGLang, NeurIPS 2024, arXiv:2312.07104",
        needs=("paged-cache", "batch-invariance"),
    ),
    Technique(
        name="in-flight-sharing",
        file="redline/core/in_flight.py",
        switch="prefix_cache=False",
        promise="exact",
        summary="Of prompts that arrive together and begin alike, one computes what all of them take over.",
        paper="Zheng et al., SGLang, NeurIPS 2024, arXiv:2312.07104",
        needs=("prefix-reuse",),
    ),
    Technique(
        name="pinned-prefixes",
        file="redline/core/pins.py",
        switch=ALWAYS_ON,
        promise="exact",
        summary="A beginning that is known to come back stays in the cache for a stated time.",
        paper="common practice",
        needs=("prefix-reuse",),
    ),
    Technique(
        name="kv-offload",
        file="redline/core/offload.py",
        switch="offload_memory=512MiB",
        promise="exact",
        summary="Evicted blocks go to host memory, and come back where that beats computing: swapping too.",
        paper="Gao et al., CachedAttention, USENIX ATC 2024, arXiv:2403.19708",
        needs=("prefix-reuse",),
    ),
    Technique(
        name="disk-cache",
        file="redline/cache/disk_store.py",
        switch="cache_dir=folder",
        promise="exact",
        summary="Blocks are kept in a checksummed file, so a restarted engine knows earlier prompts.",
        paper="Qin et al., Mooncake, FAST 2025, arXiv:2407.00079",
        needs=("kv-offload",),
    ),
    Technique(
        name="window-pools",
        file="redline/core/group_tables.py",
        switch=ALWAYS_ON,
        promise="exact",
        summary="Layers of one window share a pool, and sequences give back the blocks behind it.",
        paper="Beltagy et al., Longformer, 2020, arXiv:2004.05150; Jiang et al., 2023, arXiv:2310.06825",
        needs=("paged-cache",),
    ),
    Technique(
        name="f16-kv",
        file="redline/cache/paged.py",
        switch="kv_format=f32",
        promise="bound",
        limit=F16_BOUND,
        summary="Keys and values are stored in half precision: half the memory, half the reads.",
        paper="common practice",
        needs=("kv-cache",),
    ),
    Technique(
        name="bf16-kv",
        file="csrc/cpu/kv_encode.h",
        switch="kv_format=f32",
        promise="bound",
        limit=BF16_KV_BOUND,
        summary="Keys and values are stored as bfloat16: the size of f16, the range of float32.",
        paper="Kalamkar et al., A Study of BFLOAT16, 2019, arXiv:1905.12322",
        needs=("kv-cache",),
        excludes=("f16-kv",),
    ),
    Technique(
        name="int8-kv",
        file="csrc/cpu/kv_encode.h",
        switch="kv_format=f16",
        promise="bound",
        limit=INT8_KV_BOUND,
        summary="Keys and values have 8 bits, with one scale per token and head, multiplied as integers.",
        paper="Dettmers et al., LLM.int8(), NeurIPS 2022, arXiv:2208.07339",
        needs=("kv-cache",),
        excludes=("f16-kv", "bf16-kv"),
    ),
    Technique(
        name="fp8-kv",
        file="csrc/cpu/kv_encode.h",
        switch="kv_format=f16",
        promise="bound",
        limit=FP8_KV_BOUND,
        summary="Keys and values are stored in 8 bits of floating point, with a scale per token and head.",
        paper="Micikevicius et al., FP8 Formats for Deep Learning, 2022, arXiv:2209.05433",
        needs=("kv-cache",),
        excludes=("f16-kv", "bf16-kv", "int8-kv"),
    ),
    Technique(
        name="int4-kv",
        file="csrc/cpu/hadamard.h",
        switch="kv_format=f16",
        promise="bound",
        limit=INT4_KV_BOUND,
        summary="An experiment: keys and values are rotated, then stored in 4 bits with a scale per 32.",
        paper="Ashkboos et al., QuaRot, 2024, arXiv:2404.00456; Liu et al., KIVI, 2024, arXiv:2402.02750",
        needs=("kv-cache",),
        excludes=("f16-kv", "bf16-kv", "int8-kv", "fp8-kv"),
    ),
    Technique(
        name="cross-layer-kv",
        file="redline/layers/shared_attention.py",
        switch=ALWAYS_ON,
        promise="exact",
        summary="Layers made to share read the keys and values that an earlier layer stored.",
        paper="Brandon et al., CLA, 2024, arXiv:2405.12981; Sun et al., YOCO, 2024, arXiv:2405.05254",
        needs=("kv-cache",),
    ),
    # Kernels.
    Technique(
        name="batch-invariance",
        file="csrc/cpu/matmul_int.h",
        switch=ALWAYS_ON,
        promise="exact",
        summary="A row is summed in one fixed order, whatever the batch and the number of threads.",
        paper="He et al., Defeating Nondeterminism in LLM Inference, 2025",
    ),
    Technique(
        name="flash-attention",
        file="csrc/cpu/attention.cpp",
        switch="backend=reference",
        promise="tolerance",
        summary="Keys are visited in tiles with a running maximum and sum; no row of scores is ever stored.",
        paper="Milakov, Gimelshein, 2018, arXiv:1805.02867; Dao et al., 2022, arXiv:2205.14135",
    ),
    Technique(
        name="grouped-query-attention",
        file="redline/layers/attention.py",
        switch=ALWAYS_ON,
        promise="exact",
        summary="Query heads of a group read one key/value head, which is stored and loaded once.",
        paper="Ainslie et al., GQA, EMNLP 2023, arXiv:2305.13245",
    ),
    Technique(
        name="sliding-window",
        file="csrc/cpu/attention.cpp",
        switch=ALWAYS_ON,
        promise="exact",
        summary="Layers that see only the last W tokens visit only the tiles that hold those.",
        paper="Beltagy et al., Longformer, 2020, arXiv:2004.05150",
    ),
    Technique(
        name="rope-scaling",
        file="redline/layers/rotary.py",
        switch=ALWAYS_ON,
        promise="exact",
        summary="Rotary tables for contexts beyond the one trained for: linear, dynamic NTK, YaRN, Llama 3.",
        paper="Chen et al., 2023, arXiv:2306.15595; Peng et al., YaRN, ICLR 2024, arXiv:2309.00071",
    ),
    Technique(
        name="fused-norm",
        file="csrc/cpu/matmul_loop.h",
        switch="fusion=False",
        promise="exact",
        summary="A projection norms each row as it reads it; the normed rows are never written.",
        paper="common practice",
    ),
    Technique(
        name="fused-residual",
        file="csrc/cpu/matmul_loop.h",
        switch="fusion=False",
        promise="exact",
        summary="A projection adds its result to the residual stream while it is in the cache.",
        paper="common practice",
    ),
    Technique(
        name="merged-projections",
        file="redline/layers/attention.py",
        switch=ALWAYS_ON,
        promise="exact",
        summary="Query, key and value projections are one matrix, gate and up projections another.",
        paper="common practice",
    ),
    Technique(
        name="fused-gating",
        file="csrc/cpu/matmul_loop.h",
        switch="fusion=False",
        promise="exact",
        summary="A gate and what it gates are computed together, so that only their product is written.",
        paper="Shazeer, GLU Variants Improve Transformer, 2020, arXiv:2002.05202",
        needs=("merged-projections",),
    ),
    Technique(
        name="fused-rope-store",
        file="csrc/cpu/rope_store.h",
        switch="fusion=False",
        promise="exact",
        summary="Attention turns queries and keys and stores the new token itself: one op instead of three.",
        paper="common practice",
        needs=("paged-cache",),
    ),
    Technique(
        name="graph-replay",
        file="redline/engine/forward.py",
        switch="graph_replay=False",
        promise="exact",
        summary="The kernel calls of a decode step are recorded once per batch size and replayed as one.",
        paper="CUDA graphs, on the CPU",
    ),
    Technique(
        name="isa-dispatch",
        file="csrc/dispatch.cpp",
        switch="backend=reference",
        promise="tolerance",
        summary="Kernels are compiled once per instruction set; the best that the processor has runs.",
        paper="common practice",
    ),
    # Number formats.
    Technique(
        name="int4-weights",
        file="redline/quant/int4.py",
        switch="compute=float",
        promise="tolerance",
        summary="Four-bit weights with a scale per group are multiplied as stored, never unpacked.",
        paper="Frantar et al., GPTQ, ICLR 2023, arXiv:2210.17323",
    ),
    Technique(
        name="int8-weights",
        file="redline/quant/int8.py",
        switch="compute=float",
        promise="tolerance",
        summary="Eight-bit weights with a scale per group are multiplied as stored.",
        paper="Dettmers et al., LLM.int8(), NeurIPS 2022, arXiv:2208.07339",
    ),
    Technique(
        name="integer-activations",
        file="csrc/cpu/activations.h",
        switch="compute=float",
        promise="bound",
        limit=INT8_BOUND,
        summary="Activations are rounded to 8 or 16 bits, per group or row, for integer dot products.",
        paper="Yao et al., ZeroQuant, NeurIPS 2022, arXiv:2206.01861",
    ),
    # Around the model.
    Technique(
        name="mapped-weights",
        file="redline/models/mapped_file.py",
        switch=ALWAYS_ON,
        promise="exact",
        summary="Model files are mapped into memory: the first use loads a page, a second process shares it.",
        paper="common practice",
    ),
    Technique(
        name="ngram-speculation",
        file="redline/decoding/speculative/ngram.py",
        switch="speculative=ngram",
        promise="exact",
        summary="What followed the same tokens before is computed ahead, and kept where the model agrees.",
        paper="Saxena, Prompt Lookup Decoding, 2023; Leviathan et al., ICML 2023, arXiv:2211.17192",
        needs=("batch-invariance", "counter-based-sampling"),
    ),
    Technique(
        name="history-speculation",
        file="redline/decoding/speculative/history.py",
        switch="speculative=history",
        promise="exact",
        summary="Drafts also come from earlier answers to the same tenant: whoever matched longer proposes.",
        paper="Oliaro et al., SuffixDecoding, 2024, arXiv:2411.04975",
        needs=("ngram-speculation",),
    ),
    Technique(
        name="adaptive-drafts",
        file="redline/decoding/speculative/lengths.py",
        switch="speculative=ngram",
        promise="exact",
        summary="Of all drafts of a step, what pays: by who was right lately and what rows cost here.",
        paper="Liu et al., Optimizing Speculative Decoding for Serving, 2024, arXiv:2406.14066",
        needs=("ngram-speculation",),
    ),
    Technique(
        name="counter-based-sampling",
        file="redline/decoding/random.py",
        switch=ALWAYS_ON,
        promise="exact",
        summary="A random draw depends on the seed and the token's place alone, so any batch samples alike.",
        paper="Salmon et al., Parallel Random Numbers: As Easy as 1, 2, 3, SC 2011",
    ),
    Technique(
        name="incremental-detokenisation",
        file="redline/decoding/detokenize.py",
        switch=ALWAYS_ON,
        promise="exact",
        summary="Text is decoded from the last few tokens, and held back while a character is incomplete.",
        paper="common practice",
    ),
)
