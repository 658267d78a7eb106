"""Roofline: the least time that a step takes on a machine (Williams, Waterman, Patterson, CACM 2009)."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Roofline:
    """What a machine was measured to do at most, and what a model asks of it.

    Rates are per second of all threads together; `macs` are multiply-adds.
    """

    read_bytes_s: float  # of reading as much as the weights again and again
    macs_s: float
    weight_bytes: int  # read once per step
    kv_bytes: int  # read of the cache per token of a context
    layer_macs: int  # per token
    output_macs: int  # per row of logits
    attention_macs: int  # per token and token of its context

    def step_s(self, num_decodes: int, prompt_tokens: int, context_tokens: int) -> float:
        """Seconds that such a step takes at least: its bytes have to be read, and its products be made.

        `context_tokens`: of all contexts together. What the tokens of prompts attend to is left out: a step
        with them takes longer than this.
        """
        num_bytes = self.weight_bytes + context_tokens * self.kv_bytes
        macs = (num_decodes + prompt_tokens) * self.layer_macs + max(1, num_decodes) * self.output_macs
        macs += context_tokens * self.attention_macs if num_decodes else 0
        return max(num_bytes / self.read_bytes_s, macs / self.macs_s)
