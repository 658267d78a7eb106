"""softcap(x_RV, cap) -> y_RV: cap * tanh(x / cap), which keeps logits within +-cap (Gemma 2, 2024).

x is float32 and may be a view with any stride between rows; y is new and dense.
Raises KernelError when cap is not above 0.
"""
