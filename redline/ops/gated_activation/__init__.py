"""Gated activations (Shazeer, GLU variants improve transformer, 2020).

silu_mul(gate_up_T2F) -> y_TF:        y = silu(x[:, :F]) * x[:, F:],  silu(v) = v / (1 + e^-v)
gelu_mul(gate_up_T2F, tanh) -> y_TF:  the same with gelu (Hendrycks & Gimpel, 2016);
    tanh: v / 2 * (1 + tanh(sqrt(2 / pi) * (v + 0.044715 v^3))), else: v / 2 * (1 + erf(v / sqrt 2))
gate_mul(gate_TF, up_TF, kind) -> y_TF:  the same from two matrices; kind is "silu", "gelu_tanh" or "gelu"

Inputs are float32 and may be views with any stride between rows; y is new and dense.
Raises KernelError when rows are of odd length, shapes disagree or the kind is unknown.
"""
