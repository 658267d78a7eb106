"""Beams in the engine: a search per request, a sequence per beam, and one step for all of them at once.

All beams of a request must have logits in the same step before any goes on. Whoever has them while another
was preempted, or found no budget, computes its last token again in the next step and gets the same bits; so
nothing is kept from step to step, and whoever waits, waits in the scheduler. The first child of a beam goes
on with its sequence, the others are forked from it and share its blocks, and a beam without children gives up
its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from redline.config.sampling import SamplingParams
from redline.core.gang import Gang
from redline.core.plan import Plan
from redline.core.scheduler import Scheduler
from redline.core.sequence import Sequence
from redline.decoding.beam import Beam, BeamRules, Hypothesis
from redline.decoding.continuations import Continuations
from redline.decoding.diverse_beams import DiverseBeams
from redline.decoding.sampler import Sampled, not_a_number
from redline.engine.beam_constraints import BeamConstraints
from redline.engine.choice import ChoiceState
from redline.engine.outputs import Delta, RequestMetrics
from redline.engine.request import ActiveRequest
from redline.errors import RequestError
from redline.models.tokenizer import Tokenizer

NewTokens = dict[int, int | None]  # by sequence id; None: it stays where it is


def gang_of(params: SamplingParams) -> Gang | None:
    """What ties the sequences of a request together in the scheduler; None: nothing."""
    return Gang(params.beam_width) if params.use_beam_search else None


class BeamRequest(ActiveRequest):
    """A request that searches; takes over from one that was just admitted.

    `seqs` are the sequences of the beams that the search follows, in their order. `error` is set when it
    cannot go on.
    """

    def __init__(self, request: ActiveRequest, tokenizer: Tokenizer) -> None:
        [lead] = request.choices
        self._constraints = BeamConstraints(lead.constraint, tokenizer.eos_token_ids)
        super().__init__(
            request.request_id,
            request.prompt_token_ids,
            request.params,
            request.seed,
            lead,
            lead.seq.arrival_s,
            request.counted_s,
        )
        params = self.params
        eos = frozenset() if params.ignore_eos else tokenizer.eos_token_ids
        rules = BeamRules(
            width=params.beam_width // params.num_beam_groups,
            max_tokens=lead.seq.max_num_tokens - len(lead.seq.prompt_token_ids),
            min_tokens=params.min_tokens,
            ends=eos | frozenset(params.stop_token_ids),
            length_penalty=params.length_penalty,
            early_stopping=params.early_stopping,
        )
        self.search = DiverseBeams(rules, params.num_beam_groups, params.diversity_penalty)
        self.seqs = [lead.seq]
        self.error: RequestError | None = None
        self._tokenizer = tokenizer
        self._parents: list[int] = []
        self._step_times: list[float] = []
        self._num_preemptions = 0

    @property
    def sequences(self) -> list[Sequence]:
        """A sequence for each beam."""
        return list(self.seqs)

    @property
    def over(self) -> bool:
        """True when nothing is left to compute."""
        return self.search.done or self.error is not None

    def advance(self, continuations: Continuations, logits_RV: Any, rows: list[int]) -> NewTokens:
        """Let the search go on, from a row of logits for each of `seqs`; returns their next tokens."""
        new_tokens: NewTokens = dict.fromkeys(seq.seq_id for seq in self.seqs)
        self.error = self._constraints.rule_out(logits_RV, rows)
        if self.error is not None:
            return new_tokens
        best = continuations.best(logits_RV, rows, self.search.num_wanted, self.params.logprobs or 0)
        if best is None:
            self.error = not_a_number()
            return new_tokens
        self._parents = self.search.advance(best)
        self._constraints.follow(self._parents, [beam.token_ids[-1] for beam in self.search.beams])
        for beam, parent in zip(self.search.beams, self._parents, strict=True):
            seq_id = self.seqs[parent].seq_id
            if new_tokens[seq_id] is None:
                new_tokens[seq_id] = beam.token_ids[-1]
        return new_tokens

    def follow(self, scheduler: Scheduler, seq_ids: Iterator[int], now_s: float) -> None:
        """After the step was counted: let there be one sequence for each beam again."""
        self._step_times.append(now_s)
        if self.over:
            return
        for place, seq in enumerate(self.seqs):
            if place not in self._parents:
                self._give_up(scheduler, seq)
        claimed: set[int] = set()
        seqs = []
        for beam, place in zip(self.search.beams, self._parents, strict=True):
            parent = self.seqs[place]
            seqs.append(_fork(scheduler, parent, beam, next(seq_ids)) if place in claimed else parent)
            claimed.add(place)
        self.seqs = seqs

    def end(self, scheduler: Scheduler, reason: str) -> None:
        """Let go of all sequences."""
        for seq in self.seqs:
            self._num_preemptions += seq.num_preemptions
            scheduler.finish(seq.seq_id, reason)
        self.seqs = []

    def answer(self) -> list[Delta]:
        """One delta for each of the n best, the best first; the last has the metrics.

        When there are not as many: one with an error.
        """
        found = self.search.best(self.params.n)
        if self.error is None and len(found) < self.params.n:
            self.error = RequestError(
                f"the search found {len(found)} answers and n is {self.params.n}; the model rules out every "
                "other token: lower n, or min_tokens where tokens that end the answer are all that is left",
                param="n",
            )
        if self.error is not None:
            return [Delta(request_id=self.request_id, error=self.error)]
        lead = self.choices[0].seq
        self.choices = [ChoiceState(index, lead, self._tokenizer, self.seed) for index in range(len(found))]
        deltas = [self._delta(*both) for both in zip(self.choices, found, strict=True)]
        deltas[-1] = replace(deltas[-1], metrics=self.metrics())
        return deltas

    def metrics(self) -> RequestMetrics:
        """Tokens count from the step that found them; the request ends with its last step."""
        e2e_s = self._step_times[-1] - self.choices[0].seq.arrival_s
        return replace(super().metrics(), e2e_s=e2e_s, num_preemptions=self._num_preemptions)

    def _delta(self, choice: ChoiceState, found: Hypothesis) -> Delta:
        tokens = found.beam.tokens
        wanted = self.params.logprobs is not None
        pieces = [
            choice.push(self.request_id, Sampled(token.token_id, token if wanted else None), now_s)
            for token, now_s in zip(tokens, self._step_times, strict=False)
        ]
        assert choice.finish_reason is not None, f"{tokens = } end nothing"
        return replace(
            pieces[-1],
            text="".join(piece.text for piece in pieces),
            token_ids=found.beam.token_ids,
            logprobs=list(tokens) if wanted else None,
            cumulative_logprob=found.beam.cumulative_logprob,
            score=found.score,
        )

    def _give_up(self, scheduler: Scheduler, seq: Sequence) -> None:
        heir = self.seqs[self._parents[0]]
        if seq.pin_s:  # which counts from the end of the request
            heir.pin_s, seq.pin_s = seq.pin_s, 0.0
        self._num_preemptions += seq.num_preemptions
        scheduler.finish(seq.seq_id, "pruned")


def _fork(scheduler: Scheduler, parent: Sequence, beam: Beam, seq_id: int) -> Sequence:
    child = parent.sibling(seq_id)
    child.output_token_ids += beam.token_ids
    scheduler.fork(parent, child)
    return child


class Beams:
    """The requests of an engine that search."""

    def __init__(self, ops: Any, tokenizer: Tokenizer) -> None:
        self._continuations = Continuations(ops)
        self._tokenizer = tokenizer
        self._requests: list[BeamRequest] = []
        self._advanced: list[BeamRequest] = []  # in this step

    def add(self, request: ActiveRequest) -> BeamRequest:
        """Search for the answers of a request that was just admitted."""
        self._requests.append(BeamRequest(request, self._tokenizer))
        return self._requests[-1]

    def abort(self, request: ActiveRequest, scheduler: Scheduler) -> None:
        """Forget a request, if it is one that searches."""
        if isinstance(request, BeamRequest):
            self._requests.remove(request)
            request.end(scheduler, "abort")

    def advance(self, plan: Plan, logits_RV: Any) -> tuple[NewTokens, Any]:
        """Let those searches go on whose beams all have logits; the rows left over are for the sampler."""
        self._advanced = []
        if not self._requests:
            return {}, logits_RV
        rows, others = self._split(plan)
        new_tokens: NewTokens = dict.fromkeys(rows)
        for request in self._requests:
            if all(seq.seq_id in rows for seq in request.seqs):
                own = [rows[seq.seq_id] for seq in request.seqs]
                new_tokens |= request.advance(self._continuations, logits_RV, own)
                self._advanced.append(request)
        return new_tokens, _take_rows(logits_RV, others)

    def follow(self, scheduler: Scheduler, seq_ids: Iterator[int], now_s: float) -> list[BeamRequest]:
        """After the step was counted: fork and end sequences. Returns the requests that are over."""
        for request in self._advanced:
            request.follow(scheduler, seq_ids, now_s)
        return [request for request in self._advanced if request.over]

    def end(self, request: BeamRequest, scheduler: Scheduler) -> list[Delta]:
        """The answer of a request that is over."""
        deltas = request.answer()
        self._requests.remove(request)
        request.end(scheduler, str(deltas[0].finish_reason or "abort"))
        return deltas

    def _split(self, plan: Plan) -> tuple[dict[int, int], list[int]]:
        """The row of each beam that has one, by sequence id, and the rows of everybody else."""
        beams = {seq.seq_id for request in self._requests for seq in request.seqs}
        rows: dict[int, int] = {}
        others: list[int] = []
        first = 0
        for item in plan.items:
            if not item.samples:
                continue
            last = first + len(item.drafts)
            if item.seq.seq_id in beams:
                rows[item.seq.seq_id] = last
            else:
                others += range(first, last + 1)
            first = last + 1
        others += range(first, first + plan.num_branch_rows)
        return rows, others


def _take_rows(logits_RV: Any, rows: list[int]) -> Any:
    """Some rows: a view where they follow one another, since a copy takes as long as a large layer."""
    if rows and rows[-1] - rows[0] + 1 == len(rows):
        return logits_RV[rows[0] : rows[-1] + 1]
    return logits_RV[rows]
