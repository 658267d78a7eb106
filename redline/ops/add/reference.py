"""The meaning of add, for any array-API namespace."""

from __future__ import annotations

from typing import Any


def add(x_TD: Any, y_TD: Any) -> Any:
    return x_TD + y_TD
