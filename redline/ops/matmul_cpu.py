"""The call that the compiled matmuls of every format share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from redline.errors import KernelError
from redline.ops.arrays import F32
from redline.ops.fused import GATES
from redline.ops.recording import new_array


def call_matmul(
    kernel: Callable[..., None],
    x_TK: F32,
    packed: Any,
    norm: tuple[F32, float] | None,
    bias: F32 | None,
    gate: str | None,
    addend: F32 | None,
    out: F32 | None,
) -> F32:
    """Run `kernel`; raises KernelError when the operands do not fit each other."""
    num_outputs = packed.num_outputs if gate is None else packed.num_outputs // 2
    y_TO = new_array((x_TK.shape[0], num_outputs)) if out is None else out
    weight_K, eps = (None, 0.0) if norm is None else norm
    kind = -1 if gate is None else GATES.index(gate)
    try:
        kernel(x_TK, packed.kernel, y_TO, weight_K, eps, bias, addend, kind)
    except (TypeError, ValueError) as error:
        raise _misfit(x_TK, packed, weight_K, bias, gate, addend, y_TO) from error
    return y_TO


def _misfit(
    x_TK: F32, packed: Any, weight_K: Any, bias: Any, gate: str | None, addend: Any, y_TO: Any
) -> KernelError:
    num_outputs, num_inputs = packed.num_outputs, packed.num_inputs
    given = {"x": x_TK, "norm weight": weight_K, "bias": bias, "addend": addend, "out": y_TO}
    shapes = [
        f"{name} is {array.dtype} {array.shape} with strides {array.strides}"
        + ("" if array.flags.aligned else ", not aligned")
        for name, array in given.items()
        if array is not None
    ]
    return KernelError(
        f"matmul with {num_outputs} outputs of {num_inputs} inputs: {', '.join(shapes)}, gate is {gate}; "
        f"all must be aligned float32 with dense rows: x [rows, {num_inputs}], norm weight [{num_inputs}], "
        f"bias [{num_outputs}], addend and out [rows, outputs]; a gate needs an even number of outputs and "
        "takes no addend"
    )
