"""silu_mul and gelu_mul on NumPy arrays by csrc/cpu/gated_activation.cpp."""

from __future__ import annotations

from redline import _kernels
from redline.errors import KernelError
from redline.ops.arrays import F32
from redline.ops.fused import GATES
from redline.ops.recording import new_array


def silu_mul(gate_up_T2F: F32) -> F32:
    return gate_mul(*_halves(gate_up_T2F), "silu")


def gelu_mul(gate_up_T2F: F32, tanh: bool) -> F32:
    return gate_mul(*_halves(gate_up_T2F), "gelu_tanh" if tanh else "gelu")


def gate_mul(gate_TF: F32, up_TF: F32, kind: str) -> F32:
    if gate_TF.shape != up_TF.shape or kind not in GATES:
        raise KernelError(
            f"gate_mul: gate is {gate_TF.shape}, up {up_TF.shape}, {kind = }; the shapes must be equal, "
            f"the kind one of {', '.join(GATES)}"
        )
    y_TF = new_array(gate_TF.shape)
    _kernels.gated_activation(GATES.index(kind), gate_TF, up_TF, y_TF)
    return y_TF


def _halves(gate_up_T2F: F32) -> tuple[F32, F32]:
    half, odd = divmod(gate_up_T2F.shape[1], 2)
    if odd:
        raise KernelError(
            f"gated activation: rows have {2 * half + 1} values; they must be pairs of gate and up"
        )
    return gate_up_T2F[:, :half], gate_up_T2F[:, half:]
