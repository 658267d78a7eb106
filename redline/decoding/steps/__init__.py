"""Steps between logits and a token, one file each, in the order in which they act.

First those that change the logits: dry, custom processors, allowed_token_ids, bad_words. They come behind
bias and penalties, and log-probabilities are reported of what they leave. The last two forbid, so that
nothing brings back what they ruled out.

Then, on the distribution that temperature makes of it, those that leave tokens out before the draw:
top_n_sigma, top_k, typical_p, top_p, min_p, xtc. That is the order of llama.cpp but for temperature, which
comes first as in vLLM and transformers. Mirostat stands in the place of all these.

A request that names none of them has none: the op `sample` does its temperature, top_k, top_p, min_p and
draw in one pass. docs/sampling.md lists all parameters in this order.
"""
