"""multiply(x_TD, y_TD) -> z_TD: the product of two float32 matrices of one shape, value by value.

y may also be one row, float32 [D], for every row of x. Both may be views with any stride between rows; z is
new and dense. Raises KernelError when shapes disagree.
"""
