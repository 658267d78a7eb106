"""Number formats."""

from __future__ import annotations

from redline.technique import Bound, Payoff, Technique

ABLATION = "benchmarks/ablate_xeon_amx_2026-11-22.md"

# Against `transformers` in float32 on the dequantised weights, SmolLM2, English text.
INT8_BOUND = Bound("float32 on the same weights", 0.97, 0.0024)

FORMATS = (
    Technique(
        name="int4-weights",
        file="redline/quant/int4.py",
        switch="compute=float",
        promise="tolerance",
        summary="Four-bit weights with a scale per group are multiplied as stored, never unpacked.",
        paper="Frantar et al., GPTQ, ICLR 2023, arXiv:2210.17323",
        payoff=Payoff("4.5x one answer, 2.1x a prompt of 2,000, beside float32", ABLATION),
    ),
    Technique(
        name="int8-weights",
        file="redline/quant/int8.py",
        switch="compute=float",
        promise="tolerance",
        summary="Eight-bit weights with a scale per group are multiplied as stored.",
        paper="Dettmers et al., LLM.int8(), NeurIPS 2022, arXiv:2208.07339",
        unmeasured="part of the number of int4-weights, which has the same switch",
    ),
    Technique(
        name="integer-activations",
        file="csrc/cpu/activations.h",
        switch="compute=float",
        promise="bound",
        limit=INT8_BOUND,
        summary="Activations are rounded to 8 or 16 bits, per group or row, for integer dot products.",
        paper="Yao et al., ZeroQuant, NeurIPS 2022, arXiv:2206.01861",
        unmeasured="part of the number of int4-weights, which has the same switch",
    ),
)
