"""CustomProcessor: a callable of the user changes the logits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from redline.config.sampling import num_processor_arguments
from redline.decoding.steps.step import TokensBefore
from redline.errors import RequestError
from redline.ops.arrays import F32


class CustomProcessor:
    """Calls f(output_token_ids, logits) or f(prompt_token_ids, output_token_ids, logits) for each row.

    The lists are copies; `logits` is float32 of the size of the vocabulary, may be changed, and what is
    returned counts. It is asked about guesses too, and once for each choice, so the answer has to depend on
    the arguments alone. It runs between the steps of the engine, which wait for it.
    """

    def __init__(self, processor: Callable[..., Any]) -> None:
        self._processor = processor
        self._takes_prompt = num_processor_arguments(processor) == 3

    def apply(self, logits_V: F32, before: TokensBefore) -> None:
        tokens = [[*before.output_token_ids, *before.drafts]]
        if self._takes_prompt:
            tokens.insert(0, list(before.prompt_token_ids))
        try:
            returned = self._processor(*tokens, logits_V)
            changed_V = np.asarray(() if returned is None else returned, dtype=np.float32)
        except Exception as error:  # whatever it is, it is this request's and no other's
            raise _failed(self._processor, f"raised {type(error).__name__}: {error}") from error
        if changed_V.shape != logits_V.shape:
            raise _failed(
                self._processor,
                f"returned an array of shape {changed_V.shape}; return the logits, of shape {logits_V.shape}",
            )
        logits_V[:] = changed_V

    def fork(self) -> CustomProcessor:
        return self


def _failed(processor: Callable[..., Any], what: str) -> RequestError:
    name = getattr(processor, "__name__", type(processor).__name__)
    return RequestError(f"the logits processor {name} {what}", param="logits_processors")
