"""gaussian_topk(x_TF, deviations) -> y_TF: by how much the large values of each row exceed a cutoff.

    for t in range(T):
        cutoff = mean(x[t]) + deviations * sqrt(mean((x[t] - mean(x[t])) ** 2))
        y[t] = max(x[t] - cutoff, 0)

If the values of a row are normally distributed, a share of 1 - normal_cdf(deviations) of them is not 0: a
top-k without sorting (You et al., Spark Transformer, 2025).

x is float32 and may be a view with any stride between rows; y is new and dense.
"""
