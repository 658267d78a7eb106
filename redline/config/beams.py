"""Which parameters of a request fit beam search, and each other."""

from __future__ import annotations

from dataclasses import MISSING, Field, fields
from typing import TYPE_CHECKING

from redline.errors import RequestError

if TYPE_CHECKING:
    from redline.config.sampling import SamplingParams

OPTIONS = ("best_of", "length_penalty", "early_stopping", "num_beam_groups", "diversity_penalty")
# Whatever is not here changes chances or draws, and beams take the likeliest as the model has them.
COMPATIBLE = frozenset(
    {"n", "max_tokens", "min_tokens", "seed", "stop_token_ids", "include_stop_str_in_output", "ignore_eos"}
    | {"skip_special_tokens", "keep_special_tokens", "logprobs", "structured_outputs", "use_beam_search"}
    | {*OPTIONS}
)


def check_beams(params: SamplingParams) -> None:
    """Raises RequestError that names the first field which does not fit the others."""
    if params.best_of is not None and params.best_of < params.n:
        raise _error("best_of", params.best_of, f"it must be at least n, which is {params.n}")
    if params.use_beam_search:
        _check_search(params)
        _check_groups(params)
        return
    for each in fields(params):
        value = getattr(params, each.name)
        if each.name in OPTIONS and value != _default(each) and (each.name, value) != ("best_of", params.n):
            raise _error(
                each.name, value, "it is for beam search alone: set use_beam_search, or leave it out"
            )


def _check_search(params: SamplingParams) -> None:
    if params.beam_width == 1:
        raise _error("best_of", 1, "one beam is greedy decoding: ask for 2 or more, or for temperature 0")
    for each in fields(params):
        value = getattr(params, each.name)
        if each.name in COMPATIBLE or value == _default(each):
            continue
        if each.name != "temperature" or value != 0:  # the field's word for no sampling
            raise _error(each.name, value, "beam search does not support it: leave it out")


def _check_groups(params: SamplingParams) -> None:
    groups = params.num_beam_groups
    if params.beam_width % groups:
        advice = f"it must divide the {params.beam_width} beams of best_of evenly"
        raise _error("num_beam_groups", groups, advice)
    if (groups > 1) != (params.diversity_penalty > 0):
        advice = f"it must be above 0 with several num_beam_groups, and 0 with one; there are {groups}"
        raise _error("diversity_penalty", params.diversity_penalty, advice)


def _default(each: Field[object]) -> object:
    return each.default if each.default_factory is MISSING else each.default_factory()


def _error(name: str, value: object, advice: str) -> RequestError:
    return RequestError(f"{name} is {value!r:.80}; {advice}", param=name)
