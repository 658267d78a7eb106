"""SamplingParams: everything one request says about how its tokens are chosen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from redline.errors import RequestError

MAX_CHOICES = 128
MAX_LOGPROBS = 20
MAX_STOPS = 16
MAX_SEED = 2**63 - 1
MAX_TOKENS = 2**31 - 1


@dataclass(frozen=True, kw_only=True, slots=True)
class SamplingParams:
    """How the tokens of one request are chosen and when it ends.

    Defaults sample from the unmodified distribution; `temperature=0` is greedy.
    Names, ranges and meanings follow vLLM and the OpenAI API.

    Raises RequestError (with `.param`) when a value is out of range.
    """

    n: int = 1
    max_tokens: int | None = 16  # None: until the context is full
    min_tokens: int = 0
    temperature: float = 1.0
    top_k: int = 0  # 0 or -1: off
    top_p: float = 1.0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    logit_bias: Mapping[int, float] = field(default_factory=dict)
    seed: int | None = None
    stop: str | tuple[str, ...] | list[str] = ()
    stop_token_ids: tuple[int, ...] | list[int] = ()
    include_stop_str_in_output: bool = False
    ignore_eos: bool = False
    skip_special_tokens: bool = True
    logprobs: int | None = None  # None: off; k: the chosen token plus the k most likely

    def __post_init__(self) -> None:
        stop = (self.stop,) if isinstance(self.stop, str) else self.stop
        object.__setattr__(self, "stop", _strings("stop", stop))
        object.__setattr__(self, "stop_token_ids", _token_ids("stop_token_ids", self.stop_token_ids))
        object.__setattr__(self, "logit_bias", _bias(self.logit_bias))
        if self.top_k == -1:
            object.__setattr__(self, "top_k", 0)
        self._check_counts()
        self._check_numbers()
        self._check_flags()

    def _check_counts(self) -> None:
        _integer("n", self.n, 1, MAX_CHOICES)
        _integer("min_tokens", self.min_tokens, 0, MAX_TOKENS)
        _integer("top_k", self.top_k, 0, MAX_TOKENS)
        if self.max_tokens is not None:
            _integer("max_tokens", self.max_tokens, 1, MAX_TOKENS)
            if self.min_tokens > self.max_tokens:
                raise RequestError(
                    f"min_tokens is {self.min_tokens} but max_tokens is {self.max_tokens}; "
                    "min_tokens must not exceed max_tokens",
                    param="min_tokens",
                )
        if self.seed is not None:
            _integer("seed", self.seed, -MAX_SEED - 1, MAX_SEED)
        if self.logprobs is not None:
            _integer("logprobs", self.logprobs, 0, MAX_LOGPROBS)

    def _check_numbers(self) -> None:
        _number("temperature", self.temperature, 0.0, 100.0)
        _number("top_p", self.top_p, 0.0, 1.0)
        _number("min_p", self.min_p, 0.0, 1.0)
        _number("repetition_penalty", self.repetition_penalty, 0.0, 100.0)
        _number("presence_penalty", self.presence_penalty, -2.0, 2.0)
        _number("frequency_penalty", self.frequency_penalty, -2.0, 2.0)
        for name in ("top_p", "repetition_penalty"):
            if getattr(self, name) == 0.0:
                raise RequestError(f"{name} is 0; it must be greater than 0", param=name)

    def _check_flags(self) -> None:
        for name in ("include_stop_str_in_output", "ignore_eos", "skip_special_tokens"):
            if not isinstance(getattr(self, name), bool):
                raise RequestError(f"{name} is {getattr(self, name)!r}; it must be true or false", param=name)

    @property
    def greedy(self) -> bool:
        """True when the most likely token is always taken."""
        return self.temperature == 0.0

    @property
    def penalises(self) -> bool:
        """True when tokens that came before change the chances of the next one."""
        return bool(self.repetition_penalty != 1.0 or self.presence_penalty or self.frequency_penalty)


def _integer(name: str, value: object, low: int, high: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int):
        raise RequestError(f"{name} is {value!r}; it must be an integer", param=name)
    if not low <= value <= high:
        raise RequestError(f"{name} is {value}; it must be between {low} and {high}", param=name)


def _number(name: str, value: object, low: float, high: float) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise RequestError(f"{name} is {value!r}; it must be a number", param=name)
    if not low <= value <= high:  # NaN is not
        raise RequestError(f"{name} is {value}; it must be between {low} and {high}", param=name)


def _strings(name: str, values: object) -> tuple[str, ...]:
    if not isinstance(values, list | tuple) or not all(isinstance(v, str) for v in values):
        raise RequestError(f"{name} is {values!r}; it must be a string or a list of strings", param=name)
    if len(values) > MAX_STOPS:
        raise RequestError(f"{name} has {len(values)} entries; at most {MAX_STOPS} are accepted", param=name)
    if any(not v for v in values):
        raise RequestError(
            f"{name} has an empty string; every entry needs at least one character", param=name
        )
    if any("\ud800" <= character <= "\udfff" for value in values for character in value):
        raise RequestError(f"{name} is not valid Unicode: it holds a lone surrogate", param=name)
    return tuple(values)


def _token_ids(name: str, values: object) -> tuple[int, ...]:
    if not isinstance(values, list | tuple):
        raise RequestError(f"{name} is {values!r}; it must be a list of token ids", param=name)
    for value in values:
        _integer(name, value, 0, MAX_TOKENS)
    return tuple(values)


def _bias(bias: object) -> dict[int, float]:
    if not isinstance(bias, Mapping):
        raise RequestError(f"logit_bias is {bias!r}; it must map token ids to numbers", param="logit_bias")
    for token_id, value in bias.items():
        _integer("logit_bias", token_id, 0, MAX_TOKENS)
        _number("logit_bias", value, -100.0, 100.0)
    return dict(bias)
