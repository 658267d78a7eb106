"""contrast(): tokens by how much more likely the whole model finds them than its first layers do.

Contrastive decoding (Li et al., ACL 2023, arXiv:2210.15097) with the model's own first layers as the
amateur, as in DoLa (Chuang et al., ICLR 2024, arXiv:2309.03883): what only the later layers know is brought
out, what any shallow look at the text suggests is held back. It buys facts over phrases; it costs a pass
through the first layers and the output matrix for each token, and unusual words where both agree on a usual
one. `transformers` knows it as `dola_layers`, a list of which the farthest is taken at each token.
"""

from __future__ import annotations

import numpy as np

from redline.ops.arrays import F32

PLAUSIBLE = 0.1  # of the likeliest token's probability: what is less likely is ruled out


def contrast(logits_V: F32, amateur_V: F32) -> None:
    """Make the logits, in place, log p - log p of the amateur; -inf below PLAUSIBLE of the best p."""
    plausible_V = logits_V >= logits_V.max() + np.float32(np.log(PLAUSIBLE))
    difference = _log_sum_exp(amateur_V) - _log_sum_exp(logits_V)
    contrasted_V = logits_V - amateur_V + difference
    logits_V[:] = np.where(plausible_V, contrasted_V, np.float32(-np.inf))


def _log_sum_exp(logits_V: F32) -> np.float32:
    most = logits_V.max()
    return np.float32(most + np.log(np.exp(logits_V - most).sum(dtype=np.float64)))
