"""Diverse beam search: groups of beams that avoid each other's tokens (Vijayakumar et al., arXiv:1610.02424).

The groups advance one after the other within a step. To a group, a token costs `diversity_penalty` for each
beam of the groups before it that has just taken it (Hamming diversity). It buys an n-best list of answers
that differ in more than a comma. It hurts the likelihood of all groups but the first, which is a plain beam
search of its width.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence as Many

from redline.decoding.beam import Beam, BeamRules, BeamSearch, Hypothesis
from redline.decoding.sampler import TokenLogprob


class DiverseBeams:
    """Searches that share a prompt and its first step; a single group is plain beam search.

    `rules` are those of each group. Scores of beams contain the penalties that they paid.
    """

    def __init__(self, rules: BeamRules, num_groups: int = 1, diversity_penalty: float = 0.0) -> None:
        self._groups = [BeamSearch(rules) for _ in range(num_groups)]
        self._penalty = diversity_penalty
        self._begun = False
        # Each of the groups before may have made another beam's token costlier.
        self.num_wanted = rules.num_wanted + (num_groups - 1) * rules.width

    @property
    def done(self) -> bool:
        return all(group.done for group in self._groups)

    @property
    def beams(self) -> list[Beam]:
        """Those to compute next, group by group; at the start one for all groups."""
        if not self._begun:
            return [Beam()]
        return [beam for group in self._groups if not group.done for beam in group.beams]

    def advance(self, rows: Many[Many[TokenLogprob]]) -> list[int]:
        """As BeamSearch.advance(), with the likeliest num_wanted tokens of each of `beams`."""
        taken: Counter[int] = Counter()
        parents: list[int] = []
        first = 0
        for group in self._groups:
            if group.done:
                continue
            count = len(group.beams)
            continued = group.advance(rows[first : first + count], self._penalties(taken))
            taken.update(group.taken)
            if not group.done:
                parents += [first + parent for parent in continued]
            if self._begun:
                first += count
        self._begun = True
        return parents

    def best(self, count: int) -> list[Hypothesis]:
        """The finished beams of all groups with the highest scores; fewer if there are fewer."""
        finished = [each for group in self._groups for each in group.finished]
        return sorted(finished, key=lambda each: -each.score)[:count]

    def _penalties(self, taken: Counter[int]) -> dict[int, float]:
        return {token_id: self._penalty * times for token_id, times in taken.items()}
