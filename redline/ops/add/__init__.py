"""add(x_TD, y_TD) -> z_TD: the sum of two float32 matrices of one shape.

Both may be views with any stride between rows; z is new and dense. Raises KernelError when shapes disagree.
"""
