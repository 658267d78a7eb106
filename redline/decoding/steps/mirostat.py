"""Mirostat: hold the surprise of the text at a target, by feedback."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from redline.decoding.random import Place
from redline.decoding.steps.candidates import Candidates
from redline.decoding.steps.step import Drawn
from redline.decoding.steps.top_k import TopK
from redline.ops.arrays import F32

NUM_RANKS = 100  # tokens that version 1 estimates the exponent from, m in the paper


class Bound(Protocol):
    """Turns the bound on surprise into the candidates that may be drawn."""

    def keep(self, candidates: Candidates, surprise_K: F32, mu: float, place: Place) -> Candidates:
        """`surprise_K`: of the candidates, in bits. Keeps one at least."""


class Mirostat:
    """Draws under a bound `mu` on surprise, and moves the bound by how far the surprise of the token was off.

    Basu et al., "Mirostat: A Neural Text Decoding Algorithm that Directly Controls Perplexity", ICLR 2021,
    arXiv:2007.14966. mu starts at 2 tau; after each token mu -= eta * (S - tau), where S = -log2 p of the
    token in the distribution before the bound. So the mean surprise of a text nears `tau` bits a token,
    whatever its length: no boredom from a low bound, no incoherence from a high one. llama.cpp takes p
    behind the bound, which is higher, so that its texts are more surprising at the same tau.
    """

    def __init__(self, bound: Bound, tau: float, eta: float) -> None:
        self._bound = bound
        self._tau = tau
        self._eta = eta

    def draw(self, candidates: Candidates, place: Place, mu: float) -> Drawn:
        surprise_K = candidates.surprise() / np.float32(np.log(2.0))
        kept = self._bound.keep(candidates, surprise_K, mu, place)
        token_id = int(kept.ids_K[kept.draw(place.uniform())])
        surprise = float(surprise_K[np.searchsorted(candidates.ids_K, token_id)])
        return Drawn(token_id, mu - self._eta * (surprise - self._tau))


class SurpriseBound:
    """Mirostat 2: keeps the tokens whose surprise is at most mu, or the most likely one."""

    def keep(self, candidates: Candidates, surprise_K: F32, mu: float, place: Place) -> Candidates:
        mask_K = surprise_K <= mu
        if not mask_K.any():
            mask_K[np.argmin(surprise_K)] = True
        return candidates.only(mask_K)


class ZipfBound:
    """Mirostat 1: keeps the k most likely, where k gives that surprise if probabilities follow Zipf's law.

    The exponent s is fitted to the first hundred: the least squares of log(p_i / p_i+1) over log((i + 1) /
    i). With e = s - 1 and N candidates, k = (e * 2^mu / (1 - N^-e))^(1/s).
    """

    def keep(self, candidates: Candidates, surprise_K: F32, mu: float, place: Place) -> Candidates:
        exponent = _zipf_exponent(surprise_K)
        return TopK(_num_tokens(exponent, len(candidates), mu)).keep(candidates, place)


def _zipf_exponent(surprise_K: F32) -> float:
    num_ranks = min(NUM_RANKS, len(surprise_K))
    lowest_N = np.sort(np.partition(surprise_K, num_ranks - 1)[:num_ranks]).astype(np.float64)
    b_N = np.diff(lowest_N) * np.log(2.0)
    t_N = np.log((np.arange(num_ranks - 1) + 2.0) / (np.arange(num_ranks - 1) + 1.0))
    return float(b_N @ t_N / (t_N @ t_N)) if num_ranks > 1 else 1.0


def _num_tokens(exponent: float, num_candidates: int, mu: float) -> int:
    """k, between 1 and all; in logarithms, because powers of a flat or a steep distribution overflow."""
    if exponent <= 0.0 or mu <= 0.0:  # no rank is less likely than another, or nothing may surprise
        return num_candidates if mu > 0.0 else 1
    excess = exponent - 1.0
    scale = np.expm1(-excess * np.log(num_candidates)) if num_candidates > 1 else -1.0
    ratio = -excess / scale if excess else 1.0 / np.log(max(num_candidates, 2))
    log_k = (np.log(ratio) + mu * np.log(2.0)) / exponent
    return int(np.exp(min(log_k, np.log(num_candidates)))) or 1
