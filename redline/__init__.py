"""Redline: LLM inference at the limit of the hardware you have.

Names are loaded when they are first used, so that `import redline` costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from redline.async_llm import AsyncLLM
    from redline.config.sampling import SamplingParams
    from redline.config.structured import StructuredOutputsParams
    from redline.engine.loglikelihood import Score
    from redline.engine.outputs import Choice, Delta, RequestMetrics, RequestOutput
    from redline.errors import RedlineError
    from redline.llm import LLM

__version__ = "0.1.0"
__all__ = [
    "LLM",
    "AsyncLLM",
    "Choice",
    "Delta",
    "RedlineError",
    "RequestMetrics",
    "RequestOutput",
    "SamplingParams",
    "Score",
    "StructuredOutputsParams",
]

_HOME = {
    "LLM": "redline.llm",
    "AsyncLLM": "redline.async_llm",
    "Choice": "redline.engine.outputs",
    "Delta": "redline.engine.outputs",
    "RedlineError": "redline.errors",
    "RequestMetrics": "redline.engine.outputs",
    "RequestOutput": "redline.engine.outputs",
    "SamplingParams": "redline.config.sampling",
    "Score": "redline.engine.loglikelihood",
    "StructuredOutputsParams": "redline.config.structured",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'redline' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOME[name]), name)
