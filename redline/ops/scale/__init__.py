"""scale(x_TD, factor) -> y_TD: every value times one number.

x is float32 and may be a view with any stride between rows; y is new and dense.
"""
