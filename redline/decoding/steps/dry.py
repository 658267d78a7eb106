"""Dry: a penalty for going on as before."""

from __future__ import annotations

import numpy as np

from redline.decoding.steps.breakers import Breakers
from redline.decoding.steps.repeats import Repeats
from redline.decoding.steps.step import TokensBefore
from redline.ops.arrays import F32

MOST = 1e30  # a penalty that no logit outweighs, and that is not yet infinite


class Dry:
    """Lowers the logit of a token that would lengthen a repetition, the more the longer it is already.

    Weidmann, "DRY: A modern repetition penalty", 2024 (text-generation-webui #5677). Where the last n tokens
    stood before, followed by token t, the logit of t loses multiplier * base^(n - allowed_length), from n =
    allowed_length on. Unlike other penalties it leaves single words alone, and stops loops for certain. A
    repetition does not reach over a breaker, and no token that holds one is penalised, so the frame of lists
    and chats stays. `window`: how many of the last tokens are looked at.
    """

    def __init__(
        self,
        multiplier: float,
        base: float,
        allowed_length: int,
        window: int,
        breakers: Breakers,
        known: Repeats | None = None,
    ) -> None:
        self._multiplier = multiplier
        self._base = base
        self._allowed_length = allowed_length
        self._window = window
        self._breakers = breakers
        self._known = known  # of prompt and output; None: not looked at yet

    def fork(self) -> Dry:
        return Dry(
            self._multiplier, self._base, self._allowed_length, self._window, self._breakers, self._known
        )

    def apply(self, logits_V: F32, before: TokensBefore) -> None:
        ids, lengths = self._repeats(before).followers(self._allowed_length, self._window)
        if not len(ids):
            return
        penalised = np.array([not self._breakers.holds(token_id) for token_id in ids.tolist()])
        exponents = (lengths[penalised] - self._allowed_length).astype(np.float64)
        with np.errstate(over="ignore"):
            penalties = np.minimum(self._multiplier * self._base**exponents, MOST)
        logits_V[ids[penalised]] -= penalties.astype(np.float32)

    def _repeats(self, before: TokensBefore) -> Repeats:
        if self._known is None:
            num_since = self._breakers.num_since(before.prompt_token_ids)
            self._known = Repeats.of(before.prompt_token_ids, num_since)
        num_known = len(self._known.tokens_T) - len(before.prompt_token_ids)
        for token_id in before.output_token_ids[num_known:]:
            self._known = self._with(self._known, token_id)
        repeats = self._known
        for token_id in before.drafts:
            repeats = self._with(repeats, token_id)
        return repeats

    def _with(self, repeats: Repeats, token_id: int) -> Repeats:
        reach = self._breakers.reach
        recent = [*repeats.tokens_T[-reach:].tolist(), token_id] if reach else [token_id]
        broken = self._breakers.num_since(recent) == 0
        return repeats.broken_by(token_id) if broken else repeats.after(token_id)
