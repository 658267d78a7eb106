"""PoolingParams: asks for the vector of a prompt instead of what comes after it."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Literal

from redline.config.sampling import SamplingParams
from redline.errors import RequestError

POOLING: Literal["mean"] = "mean"  # of the final hidden states; the only way there is


@dataclass(frozen=True, kw_only=True, slots=True)
class PoolingParams(SamplingParams):
    """A request that ends after its prompt and gives an embedding of it.

    There is nothing to choose: raises RequestError for any parameter of sampling.
    """

    max_tokens: int | None = 0

    def __post_init__(self) -> None:
        SamplingParams.__post_init__(self)
        plain = SamplingParams(max_tokens=0)
        for field in fields(self):
            value = getattr(self, field.name)
            if value != getattr(plain, field.name):
                raise RequestError(
                    f"{field.name} is {value!r:.80}; an embedding has no tokens to choose: leave it out",
                    param=field.name,
                )
