"""Root-mean-square norm over the last axis (Zhang & Sennrich, 2019).

rmsnorm(x_TD, weight_D, eps) -> y_TD; x may also be [T, H, D], every head on its own:

    for t in range(T):
        y[t] = x[t] / sqrt(mean(x[t] ** 2) + eps) * weight

add_rmsnorm(x_TD, residual_TD, weight_D, eps) -> (y_TD, sum_TD): sum = x + residual, y = rmsnorm(sum).

Inputs are float32 and may be views with any stride between tokens; results are new and dense.
Raises KernelError when shapes disagree.
"""
