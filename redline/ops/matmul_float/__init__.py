"""matmul_float(x_TK, packed) -> y_TO: float32 activations times a PackedFloat (f32, f16 or bf16).

    for t, o: y[t, o] = sum over k of x[t, k] * weight[o, k], in float32, in the order of k

x may be a view with any stride between rows.

embedding_float(ids_T, packed) -> x_TK: rows of the matrix in float32; ids are int32.
"""
