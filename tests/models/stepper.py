"""Runs one sequence through a decoder, in pieces, as the engine would."""

import numpy as np

from redline.cache.paged import PagedKV
from redline.engine.forward import EagerForward
from redline.layers.batch import Batch


class Stepper:
    """A decoder with a cache of its own whose blocks lie in a shuffled order."""

    def __init__(self, decoder, num_tokens, block_size=4, dtype="f32", forward=EagerForward):
        spec = decoder.spec
        self.decoder = decoder
        self.num_computed = 0
        self.blocks_B = np.random.default_rng(1).permutation(-(-num_tokens // block_size)).astype(np.int32)
        self.num_groups = len(spec.windows)
        num_blocks = [len(self.blocks_B)] * self.num_groups
        self.kv = PagedKV(
            spec.group_of_layer,
            num_blocks,
            block_size,
            spec.num_kv_heads,
            spec.head_dim,
            dtype,
            spec.kv_owners,
        )
        self.forward = forward(decoder, self.kv)

    def step(self, token_ids, rows=None):
        """Logits of `rows` of the new tokens, all of them by default."""
        count = len(token_ids)
        positions_T = np.arange(self.num_computed, self.num_computed + count, dtype=np.int32)
        self.num_computed += count
        size = self.kv.block_size
        slots_T = self.blocks_B[positions_T // size] * size + positions_T % size
        batch = Batch(
            token_ids_T=np.array(token_ids, np.int32),
            positions_T=positions_T,
            slots_GT=(slots_T.astype(np.int32),) * self.num_groups,
            block_tables_GSB=(self.blocks_B[None],) * self.num_groups,
            query_start_S1=np.array([0, count], np.int32),
            context_lens_S=np.array([self.num_computed], np.int32),
            logit_rows_R=np.array(range(count) if rows is None else rows, np.int32),
        )
        return self.forward(batch)

    def logits(self, token_ids, chunks):
        """Logits of all tokens, computed in chunks of these sizes, the last one repeated."""
        pieces, done, sizes = [], 0, list(chunks)
        while done < len(token_ids):
            size = sizes.pop(0) if len(sizes) > 1 else sizes[0]
            pieces.append(self.step(token_ids[done : done + size]).copy())  # the next step may overwrite it
            done += size
        return np.concatenate(pieces)
