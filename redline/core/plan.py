"""Plan: what one step of the engine computes."""

from __future__ import annotations

from collections.abc import Sequence as Many
from dataclasses import dataclass
from itertools import chain
from typing import NamedTuple

from redline.core.chunked_prefill import StepBudget
from redline.core.sequence import Sequence


class BlockCopy(NamedTuple):
    """Copy a block of a layer group to another."""

    group: int
    source: int
    target: int


class BlockLoad(NamedTuple):
    """Fill a block of a layer group, for a sequence, with what slower memory holds under a key."""

    seq_id: int
    group: int
    key: bytes
    block: int


class PlanItem(NamedTuple):
    """Positions start .. start + num_tokens - 1 of one sequence.

    `samples`: the last of them is the last token known, so its logits give the next one. With `drafts`, which
    the sequence does not know yet, these come behind that token and the logits of all give tokens.
    """

    seq: Sequence
    start: int
    num_tokens: int
    samples: bool
    drafts: tuple[int, ...] = ()

    @property
    def scored(self) -> range:
        """Those of the positions whose logits are wanted to score the tokens of the prompt behind them."""
        wanted = self.seq.to_score
        return range(max(self.start, wanted.start), min(self.start + self.num_tokens, wanted.stop))


class Branch(NamedTuple):
    """Other drafts of a sequence than those of its item, computed beside them (branches.py).

    Its query begins with the last known token, at `start`, as that of the item does. `block_tables` are those
    of the sequence, but for scratch blocks from the one with that position on.
    """

    seq: Sequence
    start: int
    drafts: tuple[int, ...]
    block_tables: tuple[list[int], ...]
    samples: bool = True

    @property
    def num_tokens(self) -> int:
        """Of its query."""
        return 1 + len(self.drafts)


@dataclass(frozen=True, slots=True)
class Plan:
    """One step: make `copies` in order, then `loads`, then compute `items`, each sequence at most once.

    The `branches` are computed in the same forward pass, behind the items.

    The copies come before any write of the step: a source may be written, loaded into, or be a later target,
    in this plan.
    """

    items: tuple[PlanItem, ...] = ()
    copies: tuple[BlockCopy, ...] = ()
    loads: tuple[BlockLoad, ...] = ()
    branches: tuple[Branch, ...] = ()

    @property
    def num_tokens(self) -> int:
        """Tokens that pass through the model."""
        return sum([item.num_tokens for item in self.items]) + self.num_branch_rows

    @property
    def num_branch_rows(self) -> int:
        """Tokens of branches, each of which gives logits."""
        return sum([branch.num_tokens for branch in self.branches])

    def with_items(self, items: tuple[PlanItem, ...], branches: Many[Branch] | None = None) -> Plan:
        """With other items, and with those of its branches, or of others, whose items have drafts."""
        drafting = {item.seq.seq_id for item in items if item.drafts}
        branches = self.branches if branches is None else branches
        left = tuple(branch for branch in branches if branch.seq.seq_id in drafting)
        return Plan(items, self.copies, self.loads, left)

    def composition(self) -> tuple[int, int]:
        """Decodes, and tokens of prompts."""
        lengths = [item.num_tokens for item in self.items]
        decodes = lengths.count(1)
        drafting = [item.num_tokens for item in self.items if item.drafts] if decodes < len(lengths) else []
        return decodes + len(drafting), sum(lengths) - decodes - sum(drafting)


class PlanBuilder:
    """A plan in the making; work can be taken back from a sequence that is preempted."""

    def __init__(self, budget: StepBudget) -> None:
        self.budget = budget
        self._items: dict[int, PlanItem] = {}
        self._copies: dict[int, Many[BlockCopy]] = {}
        self._loads: dict[int, Many[BlockLoad]] = {}
        self._branches: list[Branch] = []
        self._branch_copies: list[BlockCopy] = []

    def add(self, seq: Sequence, num_tokens: int, copies: Many[BlockCopy] = ()) -> None:
        """Compute the next tokens of a sequence, after the block copies it needs. Again: so many."""
        start = seq.num_computed_tokens
        samples = seq.generates and start + num_tokens == seq.num_tokens
        self._items[seq.seq_id] = PlanItem(seq, start, num_tokens, samples)
        if copies:
            self._copies[seq.seq_id] = copies

    def add_decode(self, seq: Sequence, position: int, copies: Many[BlockCopy]) -> None:
        """Compute the one token of a sequence that is left, at this position."""
        # Not by PlanItem(), which takes a third of the time of all this.
        self._items[seq.seq_id] = tuple.__new__(PlanItem, (seq, position, 1, seq.generates, ()))
        if copies:
            self._copies[seq.seq_id] = copies

    def decode_of(self, seq_id: int) -> PlanItem | None:
        """What a sequence decodes; None: nothing, or tokens of its prompt."""
        item = self._items.get(seq_id)
        return item if item and item.samples and item.num_tokens == 1 else None

    def add_drafts(self, seq_id: int, drafts: tuple[int, ...]) -> None:
        """Compute drafts of a sequence behind the token that it decodes."""
        item = self._items[seq_id]
        self._items[seq_id] = item._replace(num_tokens=1 + len(drafts), drafts=drafts)

    def drafting(self, seq_id: int) -> PlanItem | None:
        """What a sequence computes, if that has drafts."""
        item = self._items.get(seq_id)
        return item if item and item.drafts else None

    def add_branch(self, branch: Branch, copies: Many[BlockCopy]) -> None:
        """Compute a branch too, after the copies that it needs; nothing may be taken back from now on."""
        self._branches.append(branch)
        self._branch_copies += copies

    def load(self, seq: Sequence, loads: Many[BlockLoad]) -> None:
        """Load blocks of a sequence before its next tokens are computed."""
        if loads:
            self._loads[seq.seq_id] = loads

    def num_planned(self, seq: Sequence) -> int:
        """Tokens of a sequence that are in the plan so far."""
        item = self._items.get(seq.seq_id)
        return item.num_tokens if item else 0

    def ends_prompt(self) -> bool:
        """Whether a prompt is in the plan, as far as it is made, of which nothing is left after it."""
        return any(item.samples and item.num_tokens > 1 for item in self._items.values())

    def take_back(self, seq: Sequence) -> None:
        """Forget the work of a sequence, if it has any, and return its tokens to the budget."""
        item = self._items.pop(seq.seq_id, None)
        self._copies.pop(seq.seq_id, None)
        self._loads.pop(seq.seq_id, None)
        if item is not None:
            self.budget.give_back(item.num_tokens)

    def build(self) -> Plan:
        """The finished plan, in the order in which work was added."""
        copies, loads = self._copies.values(), self._loads.values()
        items = tuple(self._items.values())
        made = (*chain.from_iterable(copies), *self._branch_copies)  # of what the others copied, too
        return Plan(items, made, tuple(chain.from_iterable(loads)), tuple(self._branches))
