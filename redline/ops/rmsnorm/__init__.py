"""Root-mean-square norm over the last axis (Zhang & Sennrich, 2019).

rmsnorm(x_TD, weight_D, eps) -> y_TD; x may also be [T, H, D], every head on its own:

    for t in range(T):
        y[t] = x[t] / sqrt(mean(x[t] ** 2) + eps) * weight

x is float32 and may be a view with any stride between tokens; y is new and dense.
Raises KernelError when shapes disagree.
"""
