"""Sequence: one stream of tokens, its state, and how much of it is in the K/V cache."""

from __future__ import annotations

from enum import Enum

from redline.config.sampling import SamplingParams
from redline.core.gang import Gang
from redline.errors import RequestError

NOTHING = range(0)


class Status(Enum):
    """WAITING holds no blocks; RUNNING has a place in the batch; FINISHED is forgotten by the scheduler."""

    WAITING = "waiting"
    RUNNING = "running"
    FINISHED = "finished"


class Sequence:
    """One prompt and the tokens sampled after it.

    Only the scheduler changes a sequence once it was added, but for `to_score`: positions of the prompt whose
    logits are wanted to say how likely the tokens behind them are, until whoever wants them has them. Those
    with max_tokens 0 want no other logits, and end with their prompt. `arrival_s` is in seconds of the
    scheduler's clock, as is `deadline_s`, by which the first token is wanted. Of two sequences the one with
    the lower `priority` goes first, then it depends on the order (order.py); fairness counts by `tenant`.
    Blocks are shared through the prefix index only between sequences of equal `salt`; those of its prompt
    stay there for `pin_s` seconds after its end at least (pins.py). It advances in step with the others of
    its `gang`, if it is in one (gang.py). Raises RequestError on an empty prompt.
    """

    __slots__ = (
        "arrival_s",
        "deadline_s",
        "block_tables",
        "finish_reason",
        "first_scheduled_s",
        "gang",
        "generates",
        "lead_id",
        "max_num_tokens",
        "num_cached_tokens",
        "num_computed_tokens",
        "num_indexed_blocks",
        "num_preemptions",
        "num_writable_tokens",
        "output_token_ids",
        "params",
        "pin_s",
        "preempted_s",
        "priority",
        "prompt_token_ids",
        "salt",
        "seq_id",
        "status",
        "tenant",
        "to_score",
    )

    def __init__(  # noqa: PLR0913 - the facts of a request
        self,
        seq_id: int,
        prompt_token_ids: list[int],
        params: SamplingParams,
        arrival_s: float,
        *,
        priority: int = 0,
        salt: str = "",
        tenant: str = "",
        deadline_s: float | None = None,
        pin_s: float = 0.0,
        gang: Gang | None = None,
        to_score: range = NOTHING,
    ) -> None:
        if not prompt_token_ids:
            raise RequestError("the prompt is empty; send at least one token", param="prompt")
        self.seq_id = seq_id
        self.prompt_token_ids = prompt_token_ids  # not copied: forks share it
        self.params = params
        self.arrival_s = arrival_s
        self.priority = priority
        self.salt = salt
        self.tenant = tenant
        self.deadline_s = deadline_s
        self.pin_s = pin_s
        self.gang = gang
        self.lead_id = seq_id if gang is None else gang.join(seq_id)  # of a gang all have the same
        self.to_score = to_score
        self.generates = params.max_tokens != 0
        self.output_token_ids: list[int] = []
        self.status = Status.WAITING
        self.finish_reason: str | None = None
        self.max_num_tokens = 0  # prompt and output; set on admission to the scheduler
        # One table per layer group: block i holds positions i * block_size onwards. See group_tables.py.
        self.block_tables: tuple[list[int], ...] = ()
        self.num_computed_tokens = 0  # their keys and values are in the cache
        self.num_indexed_blocks = 0  # of its tables, that the prefix index knows
        self.num_writable_tokens = 0  # positions up to here can be written with nothing allocated or copied
        self.num_cached_tokens = 0  # found in the prefix index when first scheduled
        self.num_preemptions = 0
        self.preempted_s: list[list[float]] = []  # from when to when it waited again; the last may go on
        self.first_scheduled_s: float | None = None

    def sibling(self, seq_id: int) -> Sequence:
        """A new sequence of the same request, with no output yet."""
        return Sequence(
            seq_id,
            self.prompt_token_ids,
            self.params,
            self.arrival_s,
            priority=self.priority,
            salt=self.salt,
            tenant=self.tenant,
            deadline_s=self.deadline_s,
            gang=self.gang,
        )

    @property
    def is_awaited(self) -> bool:
        """True when others of its gang run."""
        return self.gang is not None and self.gang.num_running > 0

    @property
    def block_table(self) -> list[int]:
        """The table of the first layer group; empty while the sequence waits."""
        return self.block_tables[0] if self.block_tables else []

    @property
    def num_tokens(self) -> int:
        """Prompt and output."""
        return len(self.prompt_token_ids) + len(self.output_token_ids)

    @property
    def num_uncomputed_tokens(self) -> int:
        """Tokens known but not yet in the cache; at least 1, because the newest gives the next logits."""
        return len(self.prompt_token_ids) + len(self.output_token_ids) - self.num_computed_tokens

    @property
    def token_ids(self) -> list[int]:
        """Prompt and output as a new list; tokens_at() is cheaper for a part."""
        return self.prompt_token_ids + self.output_token_ids

    @property
    def num_reusable_tokens(self) -> int:
        """The most tokens whose keys and values may come from others: no logits of theirs are wanted."""
        return self.to_score.start if self.to_score else self.num_tokens - 1

    @property
    def lookup_token_ids(self) -> list[int]:
        """The tokens to look up in the prefix index, which never finds the last one: a new list."""
        return self.tokens_at(0, self.num_reusable_tokens + 1)

    def tokens_at(self, start: int, num_tokens: int) -> list[int]:
        """The tokens at positions start .. start + num_tokens - 1, as a new list."""
        num_prompt = len(self.prompt_token_ids)
        stop = start + num_tokens
        if start >= num_prompt:
            return self.output_token_ids[start - num_prompt : stop - num_prompt]
        if stop <= num_prompt:
            return self.prompt_token_ids[start:stop]
        return self.prompt_token_ids[start:] + self.output_token_ids[: stop - num_prompt]

    def __repr__(self) -> str:
        return (
            f"Sequence({self.seq_id}, {self.status.value}, tokens={self.num_tokens}, "
            f"computed={self.num_computed_tokens}, blocks={len(self.block_table)})"
        )
