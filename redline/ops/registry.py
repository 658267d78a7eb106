"""Which ops exist, in which backends, and why a backend is missing.

A backend is one namespace with a function per op: `ops = backend("cpu"); ops.rmsnorm(x, w, eps)`.
Models and layers are handed such an object and call nothing else, so the same code runs on every backend.
"""

from __future__ import annotations

import importlib
from functools import cache
from types import SimpleNamespace
from typing import Any

from redline import env
from redline.errors import ConfigError

# op name -> functions it provides; the folder is redline/ops/<op name>/
OPS: dict[str, tuple[str, ...]] = {
    "empty": ("empty",),
    "matmul_float": ("matmul_float", "embedding_float"),
    "matmul_int": ("matmul_int", "embedding_int"),
    "rmsnorm": ("rmsnorm",),
    "layernorm": ("layernorm",),
    "add": ("add",),
    "multiply": ("multiply",),
    "mix": ("mix",),
    "match_magnitude": ("match_magnitude",),
    "gated_activation": ("silu_mul", "gelu_mul", "gate_mul"),
    "gaussian_topk": ("gaussian_topk",),
    "known_ids": ("known_ids",),
    "softcap": ("softcap",),
    "scale": ("scale",),
    "rope": ("rope",),
    "kv_store": ("kv_store",),
    "attention": ("attention",),
    "naive_attention": ("naive_attention",),
    "rope_attention": ("rope_attention",),
    "argmax": ("argmax",),
    "sample": ("sample",),
    "top_logprobs": ("top_logprobs",),
    "penalties": ("penalties",),
}
BACKENDS = ("cpu", "reference")


class Backend(SimpleNamespace):
    """The functions of every op in one backend, by name."""

    name: str

    def __getattr__(self, attribute: str) -> Any:
        raise AttributeError(f"backend {self.name!r} has no op {attribute!r}")


@cache
def backend(name: str) -> Backend:
    """Load backend `name`. Raises ConfigError when it is unknown or cannot run here."""
    reason = why_not(name)
    if reason is not None:
        raise ConfigError(f"backend {name!r} is not available: {reason}")
    if name == "cpu":
        _hold_to_isa()
    functions = {}
    for op, names in OPS.items():
        module = importlib.import_module(f"redline.ops.{op}.{name}")
        functions.update({function: getattr(module, function) for function in names})
    return Backend(name=name, **functions)


def _hold_to_isa() -> None:
    """Before any weight is packed: use the instruction set that REDLINE_ISA names, if it names one."""
    from redline import _kernels

    isa = env.isa()
    if isa is not None and not _kernels.select_isa(isa):
        raise ConfigError(f"REDLINE_ISA is {isa!r}; this machine or build has only {_kernels.isa()} or less")


def why_not(name: str) -> str | None:
    """The reason why backend `name` cannot run here, or None when it can."""
    if name not in BACKENDS:
        return f"unknown; choose one of {', '.join(BACKENDS)}"
    if name == "cpu":
        try:
            importlib.import_module("redline._kernels")
        except ImportError as error:
            return f"the compiled kernels do not load ({error}); reinstall Redline"
    return None
