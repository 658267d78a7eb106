"""Rotary position embedding (Su et al., RoFormer, 2021).

rope(x_THD, cos_PR, sin_PR, positions_T, interleaved) -> y_THD

    for t in range(T):
        for i in range(R):
            a, b = (2 * i, 2 * i + 1) if interleaved else (i, i + R)
            c, s = cos[positions[t], i], sin[positions[t], i]
            y[t, :, a] = x[t, :, a] * c - x[t, :, b] * s
            y[t, :, b] = x[t, :, b] * c + x[t, :, a] * s
        y[t, :, 2 * R :] = x[t, :, 2 * R :]

x, cos and sin are float32, positions int32. x may be a view with any stride between tokens; y is new and
dense. Raises KernelError when shapes disagree or a position has no row in the tables.
"""
