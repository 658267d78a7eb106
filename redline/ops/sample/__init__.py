"""Draw one token per row from the filtered softmax of its logits.

sample(logits_RV, temperature_R, top_k_R, top_p_R, min_p_R, uniform_R) -> ids_R int32

    temperature 0: the argmax. Else, with p = softmax(logits / temperature):
    top_k > 0: keep the k most likely, exactly k (Fan et al., 2018)
    top_p < 1: of these, renormalised, keep the fewest most likely with sum >= top_p (Holtzman et al., 2019)
    min_p > 0: of these keep p >= min_p * max(p) (Nguyen et al., 2024)
    the id at which the running sum over what is left, in order of ids, passes uniform * the whole sum

A tie in likelihood goes to the lower id.

logits, temperature, top_p and min_p are float32, top_k int32, uniform float64 in [0, 1). A row with a NaN, or
with nothing above -infinity, gives -1; a row with +infinity gives its first. logits may be a view with any
stride between rows. Raises KernelError when a parameter does not have one value per row.
"""
