"""A contiguous cache: each sequence reserves room for the longest answer, in one piece, as it starts.

The baseline of paging (Kwon et al., SOSP 2023), and what engines did before it: a block is as long as the
context, so that every table has one entry. Memory that an answer does not come to use is lost to others, so
fewer sequences run at once, and nothing smaller than a whole context can be shared. The kernels and the
scheduler are the same.
"""

from __future__ import annotations

from dataclasses import replace

from redline.config.engine import EngineConfig
from redline.config.resolve import resolve_context

ALIGNMENT = 16  # tokens: kernels read blocks of such sizes in place


def contiguous(config: EngineConfig, trained_context: int) -> EngineConfig:
    """`config` with blocks of the whole context. Raises ConfigError as resolve_context() does."""
    context, _ = resolve_context(config, trained_context)
    return replace(config, block_size=-(-context // ALIGNMENT) * ALIGNMENT)
