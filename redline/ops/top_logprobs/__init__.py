"""Log-probabilities of the most likely tokens and of the chosen one.

top_logprobs(logits_RV, k, chosen_R) -> (ids_Rk, logprobs_Rk, chosen_logprob_R, chosen_rank_R)

    logprob = logits[r] - log(sum(exp(logits[r])))
    ids[r], logprobs[r] = the k largest, largest first, the lower id first on a tie
    chosen_rank[r] = 1 + how many come before chosen[r] in that order

logits are float32 and may be a view with any stride between rows; ids and ranks are int32. A row with a NaN,
or with nothing above -infinity, has ids -1, log-probabilities NaN and rank 0.
Raises KernelError when k is not in [0, V] or a chosen id not in [0, V).
"""
