"""EagleDrafting: one trained layer runs ahead on the model's own hidden states.

Li et al., "EAGLE", ICML 2024 (see redline/models/eagle.py), here as chains of the likeliest tokens. The layer
takes the features of all positions that the model computes and keeps keys and values of its own, in a cache
that the model's block tables lead through, so it sees prompts whole and shares their blocks. Only the last
block's features are kept, for when that block is copied. It buys a guide to the next tokens for the price of
one layer; it must have been trained for the model. Where the features of positions are gone (keys and values
that came back from slower memory, a block that was found before the layer had computed it) zeros stand for
them: drafts are worse there, answers the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from collections.abc import Sequence as Many
from dataclasses import dataclass

import numpy as np

from redline.cache.paged import PagedKV
from redline.core.plan import Plan, PlanItem
from redline.core.sequence import Sequence
from redline.decoding.speculative.costs import StepCosts
from redline.decoding.speculative.proposer import BatchProposer
from redline.engine.draft_blocks import DraftBlocks
from redline.engine.draft_passes import FEW, Span, batch_of
from redline.engine.forward import Forward
from redline.models.decoder import Decoder
from redline.models.eagle import EagleHead
from redline.ops.arrays import F32

MOST_KEPT = 2  # blocks of features of a sequence, before the layer takes those of decoded tokens


@dataclass(frozen=True, slots=True)
class _Fed:
    """Positions of a sequence as the layer takes them: each with the token behind it and its feature."""

    span: Span
    features_ND: F32

    def __len__(self) -> int:
        return len(self.features_ND)

    def cut(self, num_tokens: int) -> tuple[_Fed, _Fed]:
        """The first ones and the others."""
        tokens, start, tables = self.span
        return (
            _Fed(Span(tokens[:num_tokens], start, tables), self.features_ND[:num_tokens]),
            _Fed(Span(tokens[num_tokens:], start + num_tokens, tables), self.features_ND[num_tokens:]),
        )


@dataclass(slots=True)
class _Features:
    """Of the latest positions of a sequence, from `start` on. Those of wrong drafts are overwritten."""

    start: int
    rows_ND: F32

    @property
    def end(self) -> int:
        return self.start + len(self.rows_ND)

    def add(self, start: int, rows_ND: F32) -> None:
        """Take what was computed from a position on; what was known of it and behind is old."""
        if self.start <= start <= self.end:
            rows_ND = np.concatenate([self.rows_ND[: start - self.start], rows_ND])
            start = self.start
        self.start, self.rows_ND = start, rows_ND

    def at(self, start: int, end: int) -> F32:
        """[end - start, D], zeros where nothing is known."""
        found_ND = np.zeros((end - start, self.rows_ND.shape[1]), np.float32)
        first, last = max(start, self.start), min(end, self.end)
        if first < last:
            found_ND[first - start : last - start] = self.rows_ND[first - self.start : last - self.start]
        return found_ND

    def keep(self, start: int) -> None:
        """Forget those before a position."""
        if start > self.start:
            self.rows_ND, self.start = self.rows_ND[start - self.start :].copy(), start


class EagleDrafting(BatchProposer):
    """`forward` runs `decoder`, which keeps all its hidden states. `chunk`: rows of a pass over prompts."""

    def __init__(
        self,
        head: EagleHead,
        kv: PagedKV,
        decoder: Decoder,
        forward: Forward,
        max_context: int,
        chunk: int,
        clock: Callable[[], float],
    ) -> None:
        self.max_context = max_context
        self.costs = StepCosts()
        self._head = head
        self._kv = kv
        self._decoder = decoder
        self._forward = forward
        self._chunk = chunk
        self._clock = clock
        self._blocks = DraftBlocks(kv.block_size)
        self._features: dict[int, _Features] = {}

    def propose(self, wanted: Many[tuple[Sequence, int]]) -> list[list[int]]:
        known = [self._features_of(seq).end >= seq.num_tokens - 1 > 0 for seq, _ in wanted]
        first = {index: self._unfed(seq) for index, (seq, _) in enumerate(wanted) if known[index]}
        long = [index for index, fed in first.items() if len(fed) > self._kv.block_size]
        begun = {index: first[index].cut(len(first[index]) - 1) for index in long}
        self._fill([beginning for beginning, _ in begun.values()])
        drafts = self._draft(first | {index: last for index, (_, last) in begun.items()}, wanted)
        for index, fed in first.items():
            seq = wanted[index][0]
            self._note(seq, fed.span)
            self._blocks.overwritten(seq, fed.span.end, fed.span.end + len(drafts[index]) - 1)
        return drafts

    def computed(self, plan: Plan) -> None:
        """Take the features; the layer gets those of prompts at once, others when it drafts or many wait."""
        features_TD = self._decoder.normed(self._take_hidden())
        assert len(features_TD) == plan.num_tokens, f"{features_TD.shape = } {plan.num_tokens = }"
        sources = {copy.target: copy.source for copy in plan.copies if copy.group == 0}
        waiting, row = [], 0
        for item in plan.items:
            rows_ND = features_TD[row : row + item.num_tokens].copy()
            row += item.num_tokens
            if item.seq.gang is not None:
                continue  # beams are not drafted for
            self._follow_copy(item, sources)
            features = self._features_of(item.seq)
            features.add(item.start, rows_ND)
            in_prompt = item.num_tokens > 1 + len(item.drafts)
            if in_prompt or len(features.rows_ND) > MOST_KEPT * self._kv.block_size:
                waiting.append(item.seq)
        self._catch_up([seq for seq in waiting if seq.num_tokens > 1])

    def forked(self, parent: Sequence, child: Sequence) -> None:
        features = self._features_of(parent)
        self._features[child.seq_id] = _Features(features.start, features.rows_ND)

    def ended(self, seq: Sequence) -> None:
        self._features.pop(seq.seq_id, None)
        self._blocks.ended(seq)

    def _take_hidden(self) -> F32:
        """Of all tokens of the last step: where it was not replayed, the decoder has them."""
        hidden_TD, self._decoder.hidden_RD = self._decoder.hidden_RD, None
        if hidden_TD is None:
            hidden_TD = self._forward.hidden_RD
        assert hidden_TD is not None, "no step was computed"
        return hidden_TD

    def _features_of(self, seq: Sequence) -> _Features:
        nothing = np.empty((0, self._head.spec.hidden_size), np.float32)
        return self._features.setdefault(seq.seq_id, _Features(0, nothing))

    def _unfed(self, seq: Sequence) -> _Fed:
        """What the layer has not seen of a sequence; of what it could see the last position at least."""
        features = self._features_of(seq)
        # The last token has none behind it.
        end = min(features.end, seq.num_tokens - 1, self.max_context)
        start = min(self._blocks.start(seq), end - 1)
        tokens = seq.tokens_at(start + 1, end - start)
        return _Fed(Span(tokens, start, (seq.block_tables[0],)), features.at(start, end))

    def _follow_copy(self, item: PlanItem, sources: Mapping[int, int]) -> None:
        """Copy what the layer had in a block of which the model goes on with a copy, `sources` by target."""
        block = item.seq.block_tables[0][item.start // self._kv.block_size]
        if item.drafts or block not in sources:
            return  # it has drafted since, with the features that are kept for this
        if self._blocks.copied(item.seq, sources[block], item.start):
            self._kv.copy([(0, sources[block], block)])

    def _catch_up(self, seqs: list[Sequence]) -> None:
        unfed = [self._unfed(seq) for seq in seqs]
        self._fill(unfed)
        for seq, fed in zip(seqs, unfed, strict=True):
            self._note(seq, fed.span)

    def _note(self, seq: Sequence, span: Span) -> None:
        """The layer has seen these positions."""
        size = self._kv.block_size
        self._blocks.computed(seq, span.start, span.end)
        self._features_of(seq).keep(span.end // size * size)

    def _fill(self, feds: list[_Fed]) -> None:
        for some in _passes(feds, self._chunk):
            self._run(some)

    def _draft(self, first: dict[int, _Fed], wanted: Many[tuple[Sequence, int]]) -> list[list[int]]:
        drafts: list[list[int]] = [[] for _ in wanted]
        todo = first
        while todo:
            features_RD, token_ids = self._guess(list(todo.values()))
            ahead = {}
            for row, (index, fed) in enumerate(todo.items()):
                if token_ids[row] < 0:
                    continue
                drafts[index].append(token_ids[row])
                if len(drafts[index]) < wanted[index][1]:
                    span = Span((token_ids[row],), fed.span.end, fed.span.tables)
                    ahead[index] = _Fed(span, features_RD[row : row + 1])
            todo = ahead
        return drafts

    def _guess(self, feds: list[_Fed]) -> tuple[F32, list[int]]:
        start_s = self._clock()
        features_RD = self._run(feds)
        token_ids: list[int] = self._head.guess(self._decoder.ops, features_RD).tolist()
        if sum(map(len, feds)) <= FEW * len(feds):
            self.costs.measured(len(feds), self._clock() - start_s)
        return features_RD, token_ids

    def _run(self, feds: list[_Fed]) -> F32:
        """The guessed features behind the last position of each, [R, D]."""
        last_rows = np.cumsum([len(fed) for fed in feds], dtype=np.int32) - np.int32(1)
        batch = batch_of([fed.span for fed in feds], self._kv.block_size, last_rows)
        features_TD = np.concatenate([fed.features_ND for fed in feds])
        return self._head(self._decoder.ops, batch, features_TD, self._kv)


def _passes(feds: list[_Fed], most: int) -> Iterator[list[_Fed]]:
    """All of them in passes of at most so many positions."""
    some: list[_Fed] = []
    left = most
    for fed in feds:
        rest = fed
        while len(rest) > left:
            if left:
                beginning, rest = rest.cut(left)
                some.append(beginning)
            yield some
            some, left = [], most
        some.append(rest)
        left -= len(rest)
    if some:
        yield some
