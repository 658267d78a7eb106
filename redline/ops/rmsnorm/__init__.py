"""rmsnorm(x_TD, weight_D, eps) -> y_TD: root-mean-square norm over the last axis (Zhang & Sennrich, 2019).

    for t in range(T):
        y[t] = x[t] / sqrt(mean(x[t] ** 2) + eps) * weight

x is float32 and may be a view with any stride between rows; y is new and dense.
"""
