"""Find the array-API namespace of an array, so that a reference runs on NumPy and on torch alike."""

from __future__ import annotations

import sys
from typing import Any


def namespace(array: Any) -> Any:
    """The module whose functions accept `array`: torch for torch tensors, else NumPy."""
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(array, torch.Tensor):
        return torch
    return array.__array_namespace__()
