"""matmul_int(x_TK, packed) -> y_TO: float32 activations times a PackedInt of any format.

    for t, o: y[t, o] = sum over groups g of `packed.group` inputs:
        weight_scale[o, g] * x_scale[t, g] * sum over k in g of (code[o, k] - offset) * x_code[t, k]
        + min[o, g] * x_scale[t, g] * sum over k in g of x_code[t, k]

x_code and x_scale are x quantised per row and group of 32 (redline/ops/dequantise.py) to the matrix's
activation_bits, 16 or 8; sums of codes are exact integers. A non-finite x makes its row NaN. x may be a view
with any stride between rows.

embedding_int(ids_T, packed) -> x_TK: rows of the matrix in float32; ids are int32.
"""
