"""matmul_int4(x_TK, packed) -> y_TO: float32 activations times a PackedInt of 4-bit codes.

The arithmetic is that of matmul_int8; only the codes are stored two to a byte, and
x is quantised to 8 bits unless the matrix says 16.

embedding_int4(ids_T, packed) -> x_TK: rows of the matrix in float32; ids are int32.
"""
