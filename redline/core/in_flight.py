"""Whether a waiting sequence should wait for a beginning that somebody else is computing just now.

Of many prompts that begin alike and arrive together, none finds the beginning in the prefix index, since it
is not there yet, and all would compute it. So one of them computes, and the others are held back until what
they share is done (Zheng et al., SGLang, 2024, order their queue to the same end). It buys the whole prefill
of all but one. It costs those held a few steps in which they would have computed the same thing.
"""

from __future__ import annotations

from collections.abc import Iterable

from redline.core.sequence import Sequence

MAX_HELD = 64  # in one step; whoever waits behind them waits too


def is_computed_by_another(
    seq: Sequence, num_matched_tokens: int, prefills: Iterable[Sequence], block_size: int
) -> bool:
    """True while one of `prefills` has still to compute the block that `seq` goes on with after its match."""
    limit = seq.num_reusable_tokens // block_size * block_size  # the others are computed in any case
    if limit <= num_matched_tokens:
        return False
    following = seq.tokens_at(num_matched_tokens, block_size)
    return any(
        other.num_computed_tokens < num_matched_tokens + block_size < other.num_tokens
        and other.salt == seq.salt
        and other.tokens_at(num_matched_tokens, block_size) == following
        and seq.tokens_at(0, num_matched_tokens) == other.tokens_at(0, num_matched_tokens)
        for other in prefills
    )
