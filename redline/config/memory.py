"""MemoryBudget: what a process will hold when all it may use is in use, term by term, before it loads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from redline.errors import CapacityError

KIB, MIB, GIB = 2**10, 2**20, 2**30
# What is left alone: for the text of requests on their way, for sockets, and for other programs.
RESERVE_BYTES = 64 * MIB


@dataclass(frozen=True, kw_only=True, slots=True)
class KVBudget:
    """Keys and values of one kind of layer: those with the same window share block tables and a pool."""

    window: int  # tokens that its layers see; 0: all
    num_layers: int  # that store keys and values
    num_sharing: int  # that read those of an earlier layer, and store none
    block_size: int  # tokens
    block_bytes: int  # keys and values of all its layers
    num_blocks: int
    name: str = "K/V"

    @property
    def token_bytes(self) -> float:
        """Bytes of one token over all layers of this kind."""
        return self.block_bytes / self.block_size

    @property
    def num_bytes(self) -> int:
        """Bytes of all blocks."""
        return self.num_blocks * self.block_bytes


@dataclass(frozen=True, kw_only=True, slots=True)
class MemoryBudget:
    """Bytes of physical memory of a process that has used every block and run its largest steps.

    The system gives most memory on first use, so a process grows into its budget.
    """

    process_bytes: int  # held before the weights are read: Python, its modules, tokenizer, chat template
    free_bytes: int  # of the machine or the control group, at that moment
    weight_bytes: int = 0  # as packed for the kernels
    rotary_bytes: int = 0  # cosines and sines up to the last position that the cache can hold
    activation_bytes: int = 0  # results of ops that live at once in the largest step
    graph_bytes: int = 0  # recorded decode steps and their results
    scratch_bytes: int = 0  # what the kernels' threads keep from call to call
    table_bytes: int = 0  # block tables, prefix index and trace, which grow with the blocks
    drafting_bytes: int = 0  # weights, cache and recorded passes of what drafts
    offload_bytes: int = 0  # host memory for blocks that leave the cache
    kv: tuple[KVBudget, ...] = ()  # for each kind of layer

    @property
    def kv_bytes(self) -> int:
        """Bytes of the blocks of all kinds of layers."""
        return sum(kind.num_bytes for kind in self.kv)

    @property
    def total_bytes(self) -> int:
        """What the process holds when every block has been used and the largest steps have run."""
        return self.process_bytes + self.needed_bytes

    @property
    def needed_bytes(self) -> int:
        """What it will take besides what it held before the weights."""
        return sum(num_bytes for _, num_bytes in self.terms()[1:])

    @property
    def left_bytes(self) -> int:
        """What stays free when the process holds all that; negative when it does not fit."""
        return self.free_bytes - self.needed_bytes

    def terms(self) -> list[tuple[str, int]]:
        """Every term of the sum with its name; the process as it is comes first."""
        return [
            ("process", self.process_bytes),
            ("weights", self.weight_bytes),
            ("rotary tables", self.rotary_bytes),
            ("activations", self.activation_bytes),
            ("decode graphs", self.graph_bytes),
            ("kernel scratch", self.scratch_bytes),
            ("tables, trace", self.table_bytes),
            ("drafting", self.drafting_bytes),
            ("offload_memory", self.offload_bytes),
            ("K/V blocks", self.kv_bytes),
        ]


def check_fits(budget: MemoryBudget, model: str) -> None:
    """Raises CapacityError, with the arithmetic and what to lower, when too little would stay free."""
    if budget.left_bytes >= RESERVE_BYTES:
        return
    terms = [(name, num_bytes) for name, num_bytes in budget.terms()[1:] if num_bytes]
    arithmetic = " + ".join(f"{name} {size(num_bytes)}" for name, num_bytes in terms)
    raise CapacityError(
        f"{model} does not fit in memory: {arithmetic} = {size(budget.needed_bytes)}, and "
        f"{size(RESERVE_BYTES)} in reserve; free are {size(budget.free_bytes)}. {_advice(terms)}"
    )


# What a user can do about a term.
_REMEDIES = {
    "weights": "choose a smaller model or a file with fewer bits",
    "rotary tables": "lower max_context",
    "activations": "lower chunked_prefill (None: max_context) or max_batch",
    "decode graphs": "lower max_batch",
    "kernel scratch": "lower threads",
    "tables, trace": "lower trace_events",
    "drafting": "choose a smaller draft model, or lower kv_memory: it has a cache of as many blocks",
    "offload_memory": "lower offload_memory",
    "K/V blocks": "lower kv_memory, max_context or max_batch, or choose a smaller kv_format",
}


def _advice(terms: Sequence[tuple[str, int]]) -> str:
    """What to do about the two largest terms."""
    largest = sorted(terms, key=lambda term: term[1], reverse=True)[:2]
    return "; ".join(f"{name}: {_REMEDIES[name]}" for name, _ in largest)


def size(num_bytes: int) -> str:
    """Bytes as people read them: 360.0 KiB, 93.4 MiB, 2.25 GiB."""
    if abs(num_bytes) < MIB:
        return f"{num_bytes / KIB:.1f} KiB"
    return f"{num_bytes / MIB:.1f} MiB" if abs(num_bytes) < GIB else f"{num_bytes / GIB:.2f} GiB"


def describe(budget: MemoryBudget) -> list[str]:
    """The budget in aligned lines: each term, K/V for each kind of layer, the sum and what it leaves."""
    rows = [(name, size(num_bytes), "") for name, num_bytes in budget.terms()[:-1] if num_bytes]
    rows += [_kind_row(kind) for kind in budget.kv]
    rows.append(("in all", size(budget.total_bytes), "when every block has been used"))
    rows.append(("left free", size(budget.left_bytes), ""))
    return ["memory"] + [f"  {name:<16}{amount:>11}  {note}".rstrip() for name, amount, note in rows]


def _kind_row(kind: KVBudget) -> tuple[str, str, str]:
    sees = f"{kind.name}, window {kind.window}" if kind.window else kind.name
    sharing = f", {kind.num_sharing} more read theirs" if kind.num_sharing else ""
    note = (
        f"{kind.num_layers} layers{sharing}: {kind.token_bytes / KIB:.1f} KiB a token, "
        f"{size(kind.block_bytes)} a block of {kind.block_size}, {kind.num_blocks} blocks"
    )
    return sees, size(kind.num_bytes), note
