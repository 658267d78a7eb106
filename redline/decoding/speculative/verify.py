"""num_kept(): how much of a draft the model agrees with."""

from __future__ import annotations

from collections.abc import Sequence


def num_kept(draft: Sequence[int], drawn: Sequence[int]) -> int:
    """The leading tokens of `draft` that are those drawn for their places.

    `drawn` has a token for each place of the draft and one more, each drawn as if all drafts before it were
    right. So those up to the first disagreement, and the one that disagrees, are what would have been drawn
    without a draft.
    """
    for place, token_id in enumerate(draft):
        if drawn[place] != token_id:
            return place
    return len(draft)
