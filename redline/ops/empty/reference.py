"""The meaning of empty."""

from __future__ import annotations

from redline.ops.empty.cpu import empty

__all__ = ["empty"]
