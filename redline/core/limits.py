"""SchedulerConfig: the limits of the batch."""

from __future__ import annotations

from dataclasses import dataclass

from redline.errors import ConfigError


@dataclass(frozen=True, kw_only=True, slots=True)
class SchedulerConfig:
    """Limits of the batch. Raises ConfigError when one is below 1."""

    max_batch: int  # sequences that run at once
    token_budget: int | None  # tokens of one step; None: prompts are computed whole
    block_size: int  # tokens
    max_context: int  # tokens of one sequence, prompt and output
    prompt_share: float = 1.0  # of the token budget that one prompt may take while others want some
    prefill_first: bool = False  # prompts before decodes

    def num_spare(self, num_running: int) -> int:
        """Blocks to keep back when another sequence joins: one for each that may need one soon.

        None where a block holds the whole context.
        """
        return num_running if self.block_size < self.max_context else 0

    def __post_init__(self) -> None:
        if not 0 < self.prompt_share <= 1:
            raise ConfigError(f"prompt_share is {self.prompt_share}; it must be above 0 and at most 1")
        for name in ("max_batch", "token_budget", "block_size", "max_context"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigError(f"{name} is {value}; it must be at least 1")
