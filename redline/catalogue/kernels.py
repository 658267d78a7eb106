"""Kernels."""

from __future__ import annotations

from redline.technique import ALWAYS_ON, Payoff, Technique

ABLATION = "benchmarks/ablate_xeon_amx_2026-11-22.md"

KERNELS = (
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
        switch="flash_attention=False",
        promise="tolerance",
        summary="Keys are visited in tiles with a running maximum and sum; no row of scores is ever stored.",
        paper="Milakov, Gimelshein, 2018, arXiv:1805.02867; Dao et al., 2022, arXiv:2205.14135",
        payoff=Payoff("4.8x a prompt of 2,000, 5.9x one answer behind 1,000", ABLATION),
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
        payoff=Payoff("with all fusion 1.04x a prompt of 2,000, 0.95x one answer", ABLATION),
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
        payoff=Payoff("1.44x one answer", ABLATION),
    ),
    Technique(
        name="isa-dispatch",
        file="csrc/dispatch.cpp",
        switch="backend=reference",
        promise="tolerance",
        summary="Kernels are compiled once per instruction set; the best that the processor has runs.",
        paper="common practice",
    ),
)
