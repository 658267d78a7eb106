"""match_magnitude(x_TD, like_TD, least) -> y_TD: each row of x, as long as that row of another matrix.

    for t in range(T):
        y[t] = x[t] * sqrt(mean(like[t] ** 2)) / sqrt(max(mean(x[t] ** 2), least))

Both are float32 and may be views with any stride between rows; y is new and dense. `least` is above 0.
Raises KernelError when shapes disagree.
"""
