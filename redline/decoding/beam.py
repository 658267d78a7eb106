"""Beam search: follow the `width` most likely continuations side by side (Lowerre, 1976; Graves, 2012).

In each step all beams together offer their best continuations; the `width` best that do not end go on, and
those among the first `width` that end are kept as finished, ranked by their score: the sum of their
log-probabilities over length ** length_penalty (as in Wu et al., 2016, arXiv:1609.08144, without its
constants). It buys answers that are more likely as a whole than the one that takes the likeliest token each
time: translations, short factual answers. It costs a row of each step per beam, and open-ended text gets dull
and repeats itself. The rules, the length penalty and the three ways to stop are those of `transformers`.

No arrays in here: what goes in are the best tokens of each beam, what comes out is who goes on from whom.
"""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence as Many
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from redline.decoding.sampler import TokenLogprob

EarlyStopping = bool | Literal["never"]
NO_PENALTIES: Mapping[int, float] = {}


@dataclass(frozen=True, slots=True)
class Beam:
    """A continuation of the prompt. `score`: the sum of its log-probabilities, less penalties."""

    tokens: tuple[TokenLogprob, ...] = ()
    score: float = 0.0

    @property
    def token_ids(self) -> list[int]:
        return [token.token_id for token in self.tokens]

    @property
    def cumulative_logprob(self) -> float:
        """How likely the model finds all of it: natural log."""
        return sum(token.logprob for token in self.tokens)


@dataclass(frozen=True, slots=True)
class Hypothesis:
    """A finished beam. `score`: the beam's over its length ** length_penalty, ends included."""

    beam: Beam
    score: float


@dataclass(frozen=True, slots=True, kw_only=True)
class BeamRules:
    """How a search goes. Lengths are in tokens of the answer, the one that ends it included."""

    width: int
    max_tokens: int
    min_tokens: int = 0
    ends: frozenset[int] = field(default_factory=frozenset)  # tokens that end a beam
    length_penalty: float = 1.0
    early_stopping: EarlyStopping = False

    @property
    def num_wanted(self) -> int:
        """The best tokens of one beam among which all are that can matter: one more for each that ends it."""
        return self.width + len(self.ends)


class _Candidate(NamedTuple):
    score: float
    parent: int
    token: TokenLogprob


class BeamSearch:
    """One search: `beams` are those to compute next, the best first, `finished` the best that ended.

    `taken` has the latest tokens of the best that did not end by their token, which diversity looks at.
    It is `done` as soon as no beam may go on, or, with `width` finished: at once (early_stopping True), when
    the best beam would not beat the worst of them if it ended now (False), or whatever its length will be
    ("never"). The last two are alike unless length_penalty is above 0.
    """

    def __init__(self, rules: BeamRules) -> None:
        self.beams = [Beam()]
        self.finished: list[Hypothesis] = []
        self.taken: list[int] = []
        self.done = False
        self._rules = rules
        self._length = 0

    def advance(
        self, rows: Many[Many[TokenLogprob]], penalties: Mapping[int, float] = NO_PENALTIES
    ) -> list[int]:
        """Let the beams go on by one token; returns, for each of the new ones, which it continues.

        `rows`: of each beam the likeliest tokens, num_wanted of them and one more for each of the
        `penalties`, which are taken off the scores of the tokens that they name.
        """
        width, ends = self._rules.width, self._rules.ends
        self._length += 1
        full = self._length == self._rules.max_tokens
        chosen: list[_Candidate] = []
        for place, candidate in enumerate(self._candidates(rows, penalties)):
            ended = candidate.token.token_id in ends
            if place < width and (ended or full):
                self._finish(candidate)
            if not ended:
                chosen.append(candidate)
            if len(chosen) == width:
                break
        self.taken = [candidate.token.token_id for candidate in chosen]
        going_on = [] if full else chosen
        self.beams = [self._beam(candidate) for candidate in going_on]
        self.finished = sorted(self.finished, key=lambda each: -each.score)[:width]
        self.done = self._is_over()
        return [candidate.parent for candidate in going_on]

    def _candidates(self, rows: Many[Many[TokenLogprob]], penalties: Mapping[int, float]) -> list[_Candidate]:
        """All continuations, the best first; of equal ones that of the better beam and the lower token."""
        barred = self._rules.ends if self._length <= self._rules.min_tokens else frozenset()
        candidates = [
            _Candidate(beam.score + token.logprob - penalties.get(token.token_id, 0.0), parent, token)
            for parent, (beam, row) in enumerate(zip(self.beams, rows, strict=True))
            for token in row
            if token.token_id not in barred
        ]
        return sorted(candidates, key=lambda each: -each.score)

    def _finish(self, candidate: _Candidate) -> None:
        score = candidate.score / self._length**self._rules.length_penalty
        self.finished.append(Hypothesis(self._beam(candidate), score))

    def _beam(self, candidate: _Candidate) -> Beam:
        return Beam((*self.beams[candidate.parent].tokens, candidate.token), candidate.score)

    def _is_over(self) -> bool:
        rules = self._rules
        if not self.beams or len(self.finished) < rules.width:
            return not self.beams
        if rules.early_stopping is True:
            return True
        longest = rules.early_stopping == "never" and rules.length_penalty > 0
        length = rules.max_tokens if longest else self._length
        best_possible: float = self.beams[0].score / length**rules.length_penalty
        return best_possible <= self.finished[-1].score
