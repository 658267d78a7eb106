"""Token trees: several continuations of a sequence, as chains that part somewhere, and which of them pay.

Miao et al., "SpecInfer", ASPLOS 2024; Cai et al., "Medusa", ICML 2024. The first chain is the draft as it is
without a tree. A branch, each other chain, is worth something where the first goes wrong just where they
part. Verification goes by the same rule as that of one chain (verify.py), for each chain by itself; the
longest right one is kept, and its tokens are those that are drawn without any. How branches are computed:
core/branches.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

Chain = list[int]
FIRST_HIT = 0.5  # the chance that a branch is right where the chain is not, before any was


def parting(first: Sequence[int], other: Sequence[int]) -> int:
    """How many tokens two chains share."""
    length = min(len(first), len(other))
    return next((place for place in range(length) if first[place] != other[place]), length)


def distinct(chains: Iterable[Chain], count: int) -> list[Chain]:
    """The first chain, and up to `count` in all that part from it, each with a token of its own there."""
    found: list[Chain] = []
    for chain in chains:
        if not found or _parts(chain, found):
            found.append(chain)
        if len(found) == count:
            break
    return found


def _parts(chain: Chain, found: list[Chain]) -> bool:
    first, *others = found
    num_shared = parting(first, chain)
    at_end = num_shared == min(len(first), len(chain))
    return not at_end and all(parting(other, chain) <= num_shared for other in others)


class Fork(NamedTuple):
    """A branch: the tokens that it shares with its chain and those that it has, and two chances.

    `chance`: that a token is right if those before it are. `hit`: that the first token of the branch alone is
    right if that of the chain is wrong.
    """

    num_shared: int
    length: int
    chance: float
    hit: float

    def gain(self, length: int) -> float:
        """The tokens to be expected of `length` tokens of it, beside those of its chain."""
        # The sum of chance^shared * (1 - chance) * hit * chance^i over its own tokens i.
        return self.hit * (self.chance**self.num_shared - self.chance**length)


def branch_lengths(
    forks: Sequence[Fork], expected: float, num_rows: int, max_rows: int, cost: Callable[[int], float]
) -> list[int]:
    """The tokens to compute of each branch; 0: it is left out.

    That is beside `num_rows` rows, of which `expected` tokens are to be expected. The likeliest come first,
    each as long as gives the most tokens per second, if that is more than without it. A branch has one row
    more than it has tokens. `cost`: see draft_lengths().
    """
    lengths = [0] * len(forks)
    best = expected / cost(num_rows)
    for index in sorted(range(len(forks)), key=lambda index: -forks[index].gain(forks[index].length)):
        fork = forks[index]
        most = min(fork.length, max_rows - num_rows - 1)
        for length in range(fork.num_shared + 1, most + 1):
            rate = (expected + fork.gain(length)) / cost(num_rows + 1 + length)
            if rate > best:
                best, lengths[index] = rate, length
        if lengths[index]:
            expected += fork.gain(lengths[index])
            num_rows += 1 + lengths[index]
    return lengths
