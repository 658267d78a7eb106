"""The settings of a sweep: every batch size with every token budget, but for those that cannot work."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from redline.errors import ConfigError

MOST_SETTINGS = 52  # a letter each


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """Options of the engine: sequences that run at once, and tokens of one step (None: whole prompts)."""

    max_batch: int
    chunked_prefill: int | None

    def __str__(self) -> str:
        return f"batch {self.max_batch}, budget {budget_text(self.chunked_prefill)}"


def budget_text(budget: int | None) -> str:
    """As the command line takes it."""
    return "none" if budget is None else str(budget)


def grid(batches: Sequence[int], budgets: Sequence[int | None]) -> tuple[list[Setting], list[str]]:
    """Settings by budget and batch, and why some are left out. Raises ConfigError when there are too many.

    A budget below the batch is no batch of that size: a step has a token for so many sequences only.
    """
    settings, left_out = [], []
    for budget in sorted(set(budgets), key=lambda budget: float("inf") if budget is None else budget):
        for batch in sorted(set(batches)):
            if budget is not None and budget < batch:
                left_out.append(
                    f"Left out: batch {batch} with a budget of {budget}, because a step could give no more "
                    f"than {budget} of its sequences a token."
                )
            else:
                settings.append(Setting(max_batch=batch, chunked_prefill=budget))
    if not settings:
        raise ConfigError(
            f"--budgets has no budget that reaches {min(batches)}, the smallest batch; a step needs a token "
            f"for each sequence. Raise --budgets to {min(batches)} or more"
        )
    if len(settings) > MOST_SETTINGS:
        raise ConfigError(
            f"--batches and --budgets make {len(settings)} settings; a sweep takes at most {MOST_SETTINGS}"
        )
    return settings, left_out
