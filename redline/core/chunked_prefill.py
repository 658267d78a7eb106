"""How many tokens one step may compute, and how a prompt is cut to fit.

Chunked prefill (Agrawal et al., "Sarathi-Serve", OSDI 2024): a step has a budget of tokens. Decodes are
served first, one token each; what is left goes to prompts, which are cut into chunks. It buys short and
even gaps between the tokens of running requests while long prompts arrive, and fills the arithmetic that
decodes, bound by memory bandwidth, leave idle. It hurts the time to first token of a prompt of many chunks,
since every chunk reads the weights and the earlier keys and values again; a budget below the number of
running sequences also caps the batch at the budget. `chunked_prefill=512` sets the budget, `None` computes
prompts whole.
"""

from __future__ import annotations

from typing import Protocol


class StepBudget(Protocol):
    """The tokens of one step, handed out in the order of asking. A wish for 1 token is a decode."""

    left: int  # tokens that can still be granted

    def grant(self, num_wanted: int) -> int:
        """How many of the wanted tokens may be computed in this step, 0 for none; they count as spent."""

    def give_back(self, num_tokens: int) -> None:
        """Return tokens that were granted and are not needed after all."""


class ChunkedPrefill:
    """Grants what is left of `num_tokens`: never more in one step, and a long prompt in pieces."""

    def __init__(self, num_tokens: int) -> None:
        self.left = num_tokens

    def grant(self, num_wanted: int) -> int:
        granted = min(num_wanted, self.left)
        self.left -= granted
        return granted

    def give_back(self, num_tokens: int) -> None:
        self.left += num_tokens


class WholePrefill:
    """Grants all or nothing: every decode, and whole prompts of together at most `max_context` tokens.

    No prompt is longer than that, so one always fits, and a step stays below max_context + max_batch tokens.
    """

    def __init__(self, max_context: int) -> None:
        self.left = max_context

    def grant(self, num_wanted: int) -> int:
        if num_wanted == 1:
            return 1
        if num_wanted > self.left:
            return 0
        self.left -= num_wanted
        return num_wanted

    def give_back(self, num_tokens: int) -> None:
        if num_tokens > 1:
            self.left += num_tokens


def step_budget(token_budget: int | None, max_context: int) -> StepBudget:
    """A fresh budget for one step."""
    return WholePrefill(max_context) if token_budget is None else ChunkedPrefill(token_budget)


def wish(budget: StepBudget, num_tokens: int, limit: int | None) -> int:
    """The tokens to ask for: all of a prompt that can end in this step, of another one up to the limit."""
    return num_tokens if limit is None or num_tokens <= budget.left else min(num_tokens, limit)
