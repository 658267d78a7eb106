"""Speculative decoding: guess the next tokens, compute them all in one step, keep those that are right.

Leviathan et al., "Fast Inference from Transformers via Speculative Decoding", ICML 2023; Chen et al.,
2023. A step that reads the weights for one token has arithmetic to spare, so a few more rows cost little.

One rule verifies every draft (verify.py): the token at each position is drawn from the model's own
distribution with the random number that belongs to that position, exactly as without drafts, and a draft
is kept while it is the token drawn. So the output has the same bits with and without speculation, sampled
or greedy. For a proposer that names one token, this is rejection sampling: the draft is kept with the
probability that the model gives it, and what is drawn otherwise has the residual distribution.

proposer.py says what a proposer is, lengths.py decides how much of its drafts is worth computing, tree.py
which other continuations beside them.
"""
