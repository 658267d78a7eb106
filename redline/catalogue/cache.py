"""The key/value cache."""

from __future__ import annotations

from redline.technique import ALWAYS_ON, Bound, Payoff, Technique

ABLATION = "benchmarks/ablate_xeon_amx_2026-11-22.md"
KV = "benchmarks/kv_cache_xeon_amx_2026-11-22.md"

# In the second half of a text of 4,096 tokens (tests/test_kv_formats.py).
F32_CACHE = "an f32 cache, with float kernels"
F16_BOUND = Bound(F32_CACHE, 0.995, 1e-5)
BF16_KV_BOUND = Bound(F32_CACHE, 0.985, 1e-4)
INT8_KV_BOUND = Bound(F32_CACHE, 0.97, 0.001)
FP8_KV_BOUND = Bound(F32_CACHE, 0.93, 0.01)
INT4_KV_BOUND = Bound(F32_CACHE, 0.85, 0.06)

CACHE = (
    Technique(
        name="kv-cache",
        file="redline/cache/paged.py",
        switch="kv_cache=False",
        promise="exact",
        summary="Keys and values are kept, so that a new token costs one row of work, not the whole prompt.",
        paper="Shazeer, Fast Transformer Decoding, 2019, arXiv:1911.02150",
        payoff=Payoff("67.9x the tokens of one answer behind 1,000", ABLATION),
    ),
    Technique(
        name="paged-cache",
        file="redline/core/blocks.py",
        switch="paged_cache=False",
        promise="exact",
        summary="The cache is cut into blocks that are handed out as sequences grow.",
        paper="Kwon et al., vLLM, SOSP 2023, arXiv:2309.06180",
        needs=("kv-cache",),
        payoff=Payoff("2x the tokens in 192 MiB of cache", ABLATION),
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
        payoff=Payoff("8.8x on 32 questions behind 1,000 shared tokens", KV),
    ),
    Technique(
        name="in-flight-sharing",
        file="redline/core/in_flight.py",
        switch="prefix_cache=False",
        promise="exact",
        summary="Of prompts that arrive together and begin alike, one computes what all of them take over.",
        paper="Zheng et al., SGLang, NeurIPS 2024, arXiv:2312.07104",
        needs=("prefix-reuse",),
        payoff=Payoff("part of prefix-reuse", KV),
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
        payoff=Payoff("34x sooner first token of 4,097 after a restart", KV),
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
        payoff=Payoff("0.99x the tokens of f16", KV),
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
        payoff=Payoff("1.33x the tokens of f16, half the bytes", KV),
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
        payoff=Payoff("1.18x the tokens of f16", KV),
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
        payoff=Payoff("1.26x the tokens of f16", KV),
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
)
