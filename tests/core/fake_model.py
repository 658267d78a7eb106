"""A model whose keys and values can be checked: a slot holds a hash of all tokens up to its position."""

from collections.abc import Iterable
from zlib import crc32

from redline.core.plan import Plan
from redline.core.sequence import Sequence
from redline.decoding.speculative.verify import num_kept

VOCAB = 3  # small, so that sequences often agree by chance


def contents(seq: Sequence, stop: int, drafts: tuple[int, ...] = ()) -> list[int]:
    """What the slots of positions 0 .. stop-1 must hold; like real keys, each depends on all before."""
    value = crc32(seq.salt.encode())
    values = []
    for position, token in enumerate([*seq.tokens_at(0, stop), *drafts]):
        value = hash((value, token, position))
        values.append(value)
    return values


def next_token(value: int, seq: Sequence) -> int:
    return hash((value, seq.params.seed)) % VOCAB


def generate(seq: Sequence, num_forced: int, num_tokens: int) -> list[int]:
    """The output of a sequence that runs alone and without a cache; `num_forced` tokens of it are given."""
    alone = Sequence(0, seq.prompt_token_ids, seq.params, 0.0, salt=seq.salt)
    alone.output_token_ids.extend(seq.output_token_ids[:num_forced])
    value = contents(alone, alone.num_tokens)[-1]
    while len(alone.output_token_ids) < num_tokens:
        alone.output_token_ids.append(next_token(value, seq))
        value = hash((value, alone.output_token_ids[-1], alone.num_tokens - 1))
    return alone.output_token_ids


Tables = tuple[list[int], ...]  # one per layer group


class FakeModel:
    """Writes and reads slots exactly where a forward pass would, in a pool for each layer group."""

    def __init__(self, num_blocks: list[int], block_size: int, windows: list[int]) -> None:
        self._block_size = block_size
        self._windows = windows
        self.num_from_branches = 0  # times that a branch was right for longer than its item
        self.pools: list[list[list[int | None]]] = [
            [[None] * block_size for _ in range(count)] for count in num_blocks
        ]

    def load(self, group: int, block: int, values: list[int | None]) -> None:
        """Fill a block with what spilled once."""
        self.pools[group][block] = list(values)

    def prepare(self, plan: Plan) -> list[Tables]:
        """The block tables of the items; a step in progress does not see later changes of them."""
        return [tuple(list(table) for table in item.seq.block_tables) for item in plan.items]

    def copy(self, plan: Plan) -> None:
        for group, source, target in plan.copies:
            self.pools[group][target] = list(self.pools[group][source])

    def _write(self, seq: Sequence, tables: Tables, start: int, values: list[int]) -> None:
        for position, value in enumerate(values[start:], start):
            for pool, table in zip(self.pools, tables, strict=True):
                block, offset = self._slot(table, position)
                pool[block][offset] = value

    def run(self, plan: Plan, tables: list[Tables]) -> tuple[dict[int, int], dict[int, list[int]]]:
        """Write all items and branches, then read them all.

        Returns the sampled tokens and the drafts kept, by seq_id.
        """
        for (seq, start, num_tokens, _, drafts), both in zip(plan.items, tables, strict=True):
            self._write(seq, both, start, contents(seq, start + num_tokens, drafts))
        for seq, start, drafts, both, _ in plan.branches:  # of which nobody changes the tables meanwhile
            self._write(seq, both, start, contents(seq, start + 1, drafts))
        tokens, kept = {}, {}
        for (seq, start, num_tokens, samples, drafts), both in zip(plan.items, tables, strict=True):
            values = self._read(seq, both, start, start + num_tokens, drafts)
            if samples:
                drawn = [next_token(value, seq) for value in values[len(values) - 1 - len(drafts) :]]
                right = num_kept(drafts, drawn)
                tokens[seq.seq_id] = drawn[right]
                if drafts:
                    kept[seq.seq_id] = drawn[:right]
        for seq, start, drafts, both, _ in plan.branches:
            values = self._read(seq, both, start, start + 1 + len(drafts), drafts)
            drawn = [next_token(value, seq) for value in values[start:]]
            right = num_kept(drafts, drawn)
            if right > len(kept[seq.seq_id]):
                tokens[seq.seq_id], kept[seq.seq_id] = drawn[right], drawn[:right]
                self.num_from_branches += 1
        return tokens, kept

    def read_computed(self, seqs: Iterable[Sequence]) -> None:
        """Assert that each block table leads to what its sequence believes to have in the cache."""
        for seq in seqs:
            if seq.num_computed_tokens:
                self._read(seq, seq.block_tables, seq.num_computed_tokens, seq.num_computed_tokens)

    def _read(
        self, seq: Sequence, tables: Tables, start: int, stop: int, drafts: tuple[int, ...] = ()
    ) -> list[int]:
        """Check what tokens from position `start` on see of those before `stop`; returns what it must be."""
        expected = contents(seq, stop, drafts)
        for pool, window, table in zip(self.pools, self._windows, tables, strict=True):
            for position in range(max(0, start + 1 - window) if window else 0, stop):
                block, offset = self._slot(table, position)
                assert block >= 0, f"{seq} reads {position = } of a block that was given back: {table}"
                assert pool[block][offset] == expected[position], (
                    f"{seq}: foreign {position = } {block = } {offset = }"
                )
        return expected

    def _slot(self, table: list[int], position: int) -> tuple[int, int]:
        return table[position // self._block_size], position % self._block_size
