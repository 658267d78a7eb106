"""Counter-based random numbers: a draw depends on the request's seed and the token's place, nothing else.

No generator state means that a request draws the same numbers alone, in any batch, and after a preemption
(Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011). The mixing function is SplitMix64
(Steele, Lea, Flood, OOPSLA 2014).
"""

from __future__ import annotations

from typing import NamedTuple

TOKEN, EXCLUDE_TOP = 0, 1  # what a number is for: the token itself, or whether XTC acts on it

_MASK = 2**64 - 1
_GOLDEN = 0x9E3779B97F4A7C15


def _mix(z: int) -> int:
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & _MASK
    return z ^ (z >> 31)


def uniform(seed: int, stream: int, position: int, purpose: int = TOKEN) -> float:
    """A number in [0, 1): `stream` tells apart the choices of one request, `position` its tokens.

    Numbers for another `purpose` are independent of those the tokens are drawn with.
    """
    state = _mix((seed + _GOLDEN) & _MASK)
    state = _mix((state + (stream + 1) * _GOLDEN) & _MASK)
    state = _mix((state + (position + 1) * _GOLDEN) & _MASK)
    if purpose != TOKEN:
        state = _mix((state + (purpose + 1) * _GOLDEN) & _MASK)
    return (state >> 11) * 2.0**-53


class Place(NamedTuple):
    """Where a token is drawn: all that its random numbers depend on."""

    seed: int
    stream: int
    position: int

    def uniform(self, purpose: int = TOKEN) -> float:
        """A number in [0, 1)."""
        return uniform(self.seed, self.stream, self.position, purpose)
