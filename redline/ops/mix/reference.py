"""The meaning of mix, for any array-API namespace."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def mix(x_TD: Sequence[Any], weights_TM: Any, addend_TD: Any) -> Any:
    y_TD = addend_TD
    for index, each_TD in enumerate(x_TD):
        y_TD = y_TD + weights_TM[:, index : index + 1] * each_TD
    return y_TD
