"""mix(x_TD, weights_TM, addend_TD) -> y_TD: rows of M matrices weighed token by token.

x is a sequence of M matrices [T, D], at most 16:

    for t in range(T):
        y[t] = addend[t] + sum over m of weights[t, m] * x[m][t]

summed in the order of m. All are float32 and may be views with any stride between rows; y is new and dense.
Raises KernelError when shapes disagree.
"""
