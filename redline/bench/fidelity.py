"""How far a model's predictions are from a reference: KL divergence and top-1 agreement, teacher-forced.

Both models read the same text and are asked at every position for the next token. The numbers are those of
llama.cpp's perplexity tool: mean KL(reference || model) in nats, and how often the most likely token is the
same.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from redline.cache.paged import PagedKV
from redline.layers.batch import Batch
from redline.models.decoder import Decoder
from redline.ops.arrays import F32, Array

BLOCK_SIZE = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Fidelity:
    """Over `num_tokens` predictions."""

    num_tokens: int
    mean_kl: float
    top1_agreement: float


def teacher_forced(
    decoder: Decoder, token_ids: list[int], kv_format: str, chunk: int = 512, first: int = 0
) -> Iterator[F32]:
    """Logits [chunk, vocabulary] of the positions of a text from `first` on, a chunk at a time."""
    spec = decoder.spec
    num_blocks = -(-len(token_ids) // BLOCK_SIZE)
    blocks = [num_blocks] * len(spec.windows)
    sizes = (BLOCK_SIZE, spec.num_kv_heads, spec.head_dim)
    kv = PagedKV(spec.group_of_layer, blocks, *sizes, kv_format, spec.kv_owners)
    tables_SB = np.arange(num_blocks, dtype=np.int32)[None]
    for start in range(0, len(token_ids), chunk):
        part = np.array(token_ids[start : start + chunk], np.int32)
        positions_T = np.arange(start, start + len(part), dtype=np.int32)
        rows_R = np.flatnonzero(positions_T >= first).astype(np.int32)
        logits_RV = decoder.forward(
            Batch(
                token_ids_T=part,
                positions_T=positions_T,
                slots_GT=(positions_T,) * len(blocks),
                block_tables_GSB=(tables_SB,) * len(blocks),
                query_start_S1=np.array([0, len(part)], np.int32),
                context_lens_S=np.array([start + len(part)], np.int32),
                logit_rows_R=rows_R if len(rows_R) else np.zeros(1, np.int32),
            ),
            kv,
        )
        if len(rows_R):
            yield logits_RV


def compare(pairs: Iterable[tuple[Array, Array]]) -> Fidelity:
    """Fidelity over pairs of (reference, model) logits [T, vocabulary]."""
    total = kl = agreed = 0.0
    for reference_TV, model_TV in pairs:
        assert reference_TV.shape == model_TV.shape, f"{reference_TV.shape = } {model_TV.shape = }"
        p_TV, q_TV = _log_softmax(reference_TV), _log_softmax(model_TV)
        kl += float((np.exp(p_TV) * (p_TV - q_TV)).sum())
        agreed += float((p_TV.argmax(-1) == q_TV.argmax(-1)).sum())
        total += len(p_TV)
    return Fidelity(num_tokens=int(total), mean_kl=kl / total, top1_agreement=agreed / total)


def _log_softmax(logits_TV: Array) -> Array:
    shifted = logits_TV - logits_TV.max(-1, keepdims=True)
    log_softmax_TV: Array = shifted - np.log(np.exp(shifted).sum(-1, keepdims=True, dtype=np.float64))
    return log_softmax_TV
