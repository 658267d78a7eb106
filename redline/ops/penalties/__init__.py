"""Penalise tokens that occurred, in place.

penalties(logits_V, token_ids_N, counts_N, repetition, presence, frequency) -> None

    for id, count in zip(token_ids, counts):       # each id once; count: how often it is in the output
        logits[id] = logits[id] / repetition if logits[id] > 0 else logits[id] * repetition
        if count > 0:
            logits[id] -= frequency * count + presence

repetition (Keskar et al., CTRL, 2019) is for every listed token, of prompt or output; the other two for those
of the output (count 0: prompt only). logits are float32 and dense, ids and counts int32.
Raises KernelError when shapes disagree or an id is outside the vocabulary.
"""
