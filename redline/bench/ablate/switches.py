"""What an ablation switches: techniques, what each needs, the load it is measured on, what is claimed of it.

`best` is every technique on that pays on any load, `plain` the engine that papers compare themselves with.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

Options = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Switch:
    """Techniques that one option switches, by the name of the first."""

    techniques: tuple[str, ...]  # names in redline/techniques.py, but for `threads`
    loads: tuple[str, ...]
    on: Options = field(default_factory=dict)
    off: Options = field(default_factory=dict)
    off_variables: dict[str, str] = field(default_factory=dict)
    in_best: bool = True  # else it depends on the use, and is measured by adding it
    in_plain: bool = False  # else the plain configuration does without
    needs: tuple[str, ...] = ()  # without which it does nothing
    claim: float | None = None  # the least that it should buy on its first load

    @property
    def name(self) -> str:
        return self.techniques[0]


SWITCHES = (
    Switch(
        techniques=("kv-cache",),
        loads=("decode-1k",),
        on={"kv_cache": True},
        off={"kv_cache": False},
        claim=20.0,
    ),
    Switch(
        techniques=("paged-cache",),
        loads=("many-short",),
        on={"paged_cache": True},
        off={"paged_cache": False},
        needs=("kv-cache",),
    ),
    Switch(
        techniques=("prefix-reuse", "in-flight-sharing"),
        loads=("shared-prefix",),
        on={"prefix_cache": True},
        off={"prefix_cache": False},
        needs=("kv-cache", "paged-cache"),
        claim=5.0,
    ),
    Switch(
        techniques=("continuous-batching",),
        loads=("heavy-tail",),
        on={"batching": "continuous"},
        off={"batching": "static"},
        claim=1.8,
    ),
    Switch(
        techniques=("chunked-prefill",),
        loads=("stall",),
        on={"chunked_prefill": 512},
        off={"chunked_prefill": None},
    ),
    Switch(
        techniques=("int4-weights", "int8-weights", "integer-activations"),
        loads=("decode", "prefill-2k"),
        on={"compute": "int8"},
        off={"compute": "float"},
        claim=2.0,
    ),
    Switch(
        techniques=("flash-attention",),
        loads=("prefill-2k", "decode-1k"),
        on={"flash_attention": True},
        off={"flash_attention": False},
    ),
    Switch(
        techniques=("fused-norm", "fused-residual", "fused-gating", "fused-rope-store"),
        loads=("decode", "prefill-2k"),
        on={"fusion": True},
        off={"fusion": False},
    ),
    Switch(
        techniques=("graph-replay",),
        loads=("decode",),
        on={"graph_replay": True},
        off={"graph_replay": False},
        needs=("kv-cache", "flash-attention"),
    ),
    Switch(
        techniques=("jump-ahead",),
        loads=("schema",),
        on={"jump_ahead": True},
        off={"jump_ahead": False},
        needs=("kv-cache",),
    ),
    Switch(techniques=("threads",), loads=("decode", "prefill-2k"), off={"threads": 1}),
    Switch(
        techniques=("isa-dispatch",),
        loads=("decode", "prefill-2k"),
        off_variables={"REDLINE_ISA": "scalar"},
        in_plain=True,
    ),
    Switch(
        techniques=("f16-kv",),
        loads=("long-batch",),
        on={"kv_format": "f16"},
        off={"kv_format": "f32"},
        needs=("kv-cache", "flash-attention"),  # naive attention makes float32 of any format
    ),
    Switch(
        techniques=("int8-kv",),
        loads=("long-batch",),
        on={"kv_format": "int8"},
        in_best=False,
        needs=("kv-cache", "flash-attention"),
    ),
    Switch(
        techniques=("ngram-speculation", "adaptive-drafts"),
        loads=("copy",),
        on={"speculative": "ngram"},
        off={"speculative": None},
        in_best=False,
        needs=("kv-cache",),
    ),
)
BY_NAME = {switch.name: switch for switch in SWITCHES}


@dataclass(frozen=True)
class Setup:
    """How one process is started: options of the engine, and variables of its environment."""

    options: Options
    variables: dict[str, str]


def setup_of(names: Iterable[str]) -> Setup:
    """The engine with these techniques on and all others off."""
    chosen = set(names)
    options: Options = {}
    variables: dict[str, str] = {}
    for switch in SWITCHES:
        if switch.name not in chosen:
            options |= switch.off
            variables |= switch.off_variables
    for switch in SWITCHES:
        if switch.name in chosen:
            options |= switch.on
    return Setup(options, variables)


def best() -> set[str]:
    """The techniques of the best configuration."""
    return {switch.name for switch in SWITCHES if switch.in_best}


def plain() -> set[str]:
    """The techniques of the plain configuration."""
    return {switch.name for switch in SWITCHES if switch.in_plain}


def with_needs(names: Iterable[str]) -> set[str]:
    """These techniques and all that they need."""
    found: set[str] = set()
    waiting = list(names)
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += BY_NAME[name].needs
    return found


def without(names: Iterable[str], gone: str) -> set[str]:
    """These techniques but for one, and those that need it."""
    return {name for name in names if gone not in with_needs([name])}
