"""argmax(logits_RV) -> ids_R int32: the most likely token of each row, the lowest id on a tie.

A row with a NaN, or with nothing above -infinity, gives -1. logits are float32 and may be a view with any
stride between rows.
"""
