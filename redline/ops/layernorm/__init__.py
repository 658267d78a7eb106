"""layernorm(x_TD, weight_D, bias_D | None, eps) -> y_TD: layer norm over the last axis (Ba et al., 2016).

    for t in range(T):
        centered = x[t] - mean(x[t])
        y[t] = centered / sqrt(mean(centered ** 2) + eps) * weight + bias

x is float32 and may be a view with any stride between rows; y is new and dense.
Raises KernelError when shapes disagree.
"""
