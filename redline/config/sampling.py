"""SamplingParams: everything one request says about how its tokens are chosen."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from redline.config.beams import check_beams
from redline.config.structured import StructuredOutputsParams, check_structured
from redline.errors import RequestError

MAX_CHOICES = 128
MAX_LOGPROBS = 20
MAX_STOPS = 16
MAX_SEED = 2**63 - 1
MAX_TOKENS = 2**31 - 1
MAX_BAD_WORDS = 256
MAX_BREAKERS = 64
MAX_WORD_CHARS = 128  # of a bad word or a breaker
BREAKERS = ("\n", ":", '"', "*")
MAX_LENGTH_PENALTY = 10.0


# What leaves out tokens before the draw, and the value at which it does nothing.
TRUNCATIONS: dict[str, float] = {
    "top_n_sigma": -1.0,
    "top_k": 0,
    "typical_p": 1.0,
    "top_p": 1.0,
    "min_p": 0.0,
    "xtc_probability": 0.0,
}


@dataclass(frozen=True, kw_only=True, slots=True)
class SamplingParams:
    """How the tokens of one request are chosen and when it ends.

    Defaults sample from the unmodified distribution; `temperature=0` is greedy. With `max_tokens=0` a prompt
    is computed, and scored if `prompt_logprobs` says so, and nothing follows it. Names, ranges and meanings
    follow vLLM, llama.cpp and the OpenAI API, `logprob_start_len` SGLang; docs/sampling.md lists them in the
    order in which they act.

    Raises RequestError (with `.param`) when a value is out of range.
    """

    n: int = 1
    max_tokens: int | None = 16  # None: until the context is full
    min_tokens: int = 0
    temperature: float = 1.0
    top_k: int = 0  # 0 or -1: off
    top_p: float = 1.0
    min_p: float = 0.0
    typical_p: float = 1.0
    top_n_sigma: float = -1.0  # -1: off
    xtc_probability: float = 0.0
    xtc_threshold: float = 0.1
    mirostat: int = 0  # version 1 or 2; 0: off
    mirostat_tau: float = 5.0
    mirostat_eta: float = 0.1
    repetition_penalty: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    dry_multiplier: float = 0.0  # 0: off
    dry_base: float = 1.75
    dry_allowed_length: int = 2
    dry_penalty_last_n: int = -1  # -1: all; 0: off
    dry_sequence_breakers: tuple[str, ...] | list[str] = BREAKERS
    logit_bias: Mapping[int, float] = field(default_factory=dict)
    bad_words: tuple[str, ...] | list[str] = ()
    allowed_token_ids: tuple[int, ...] | list[int] | None = None  # None: all
    dola_layer: int | None = None  # contrast the model with so many of its first layers; None: off
    logits_processors: tuple[Callable[..., Any], ...] | list[Callable[..., Any]] = ()
    seed: int | None = None
    stop: str | tuple[str, ...] | list[str] = ()
    stop_token_ids: tuple[int, ...] | list[int] = ()
    include_stop_str_in_output: bool = False
    ignore_eos: bool = False
    skip_special_tokens: bool = True
    keep_special_tokens: str | tuple[str, ...] | list[str] = ()  # in the text though others are skipped
    logprobs: int | None = None  # None: off; k: the chosen token plus the k most likely
    # The same for the tokens of the prompt, by the model's own distribution: no bias, no penalties.
    prompt_logprobs: int | None = None
    logprob_start_len: int = 0  # so many tokens of the prompt are not scored, and may come from the cache
    use_beam_search: bool = False  # instead of sampling: the n best of `best_of` beams
    best_of: int | None = None  # beams; None: n
    length_penalty: float = 1.0  # beams are ranked by their log-probability / length ** length_penalty
    early_stopping: bool | Literal["never"] = False  # as in transformers, see decoding/beam.py
    num_beam_groups: int = 1  # of beams that avoid each other's tokens
    diversity_penalty: float = 0.0  # for each beam of an earlier group that took the same token
    structured_outputs: StructuredOutputsParams | None = None  # the form of the answer; None: free

    def __post_init__(self) -> None:
        stop = (self.stop,) if isinstance(self.stop, str) else self.stop
        object.__setattr__(self, "stop", _strings("stop", stop))
        object.__setattr__(self, "stop_token_ids", _token_ids("stop_token_ids", self.stop_token_ids))
        object.__setattr__(self, "logit_bias", _bias(self.logit_bias))
        kept = self.keep_special_tokens
        kept = (kept,) if isinstance(kept, str) else kept
        object.__setattr__(self, "keep_special_tokens", _strings("keep_special_tokens", kept))
        if self.top_k == -1:
            object.__setattr__(self, "top_k", 0)
        self._normalise_steps()
        self._check_counts()
        self._check_numbers()
        self._check_steps()
        self._check_flags()
        check_beams(self)
        check_structured(self.structured_outputs, min_tokens=self.min_tokens, ignore_eos=self.ignore_eos)

    def _normalise_steps(self) -> None:
        values: dict[str, object] = {
            "bad_words": _words("bad_words", self.bad_words, MAX_BAD_WORDS),
            "dry_sequence_breakers": _words(
                "dry_sequence_breakers", self.dry_sequence_breakers, MAX_BREAKERS
            ),
            "logits_processors": _processors(self.logits_processors),
        }
        if self.allowed_token_ids is not None:
            values["allowed_token_ids"] = _token_ids("allowed_token_ids", self.allowed_token_ids)
        for name, value in values.items():
            object.__setattr__(self, name, value)

    def _check_counts(self) -> None:
        _integer("n", self.n, 1, MAX_CHOICES)
        _integer("min_tokens", self.min_tokens, 0, MAX_TOKENS)
        _integer("top_k", self.top_k, 0, MAX_TOKENS)
        if self.max_tokens is not None:
            _integer("max_tokens", self.max_tokens, 0, MAX_TOKENS)
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
        if self.best_of is not None:
            _integer("best_of", self.best_of, 1, MAX_CHOICES)
        _integer("num_beam_groups", self.num_beam_groups, 1, MAX_CHOICES)
        if self.prompt_logprobs is not None:
            _integer("prompt_logprobs", self.prompt_logprobs, 0, MAX_LOGPROBS)
        _integer("logprob_start_len", self.logprob_start_len, 0, MAX_TOKENS)
        self._check_scoring()

    def _check_scoring(self) -> None:
        if self.max_tokens == 0 and self.n > 1:
            raise RequestError(
                f"n is {self.n} and max_tokens is 0; without tokens there is one answer, so n must be 1",
                param="n",
            )
        if self.max_tokens == 0 and self.use_beam_search:
            raise RequestError("max_tokens is 0; a beam search needs one token at least", param="max_tokens")
        if self.logprob_start_len and self.prompt_logprobs is None:
            raise RequestError(
                f"logprob_start_len is {self.logprob_start_len}; it needs prompt_logprobs",
                param="logprob_start_len",
            )

    def _check_numbers(self) -> None:
        _number("temperature", self.temperature, 0.0, 100.0)
        _number("top_p", self.top_p, 0.0, 1.0)
        _number("min_p", self.min_p, 0.0, 1.0)
        _number("typical_p", self.typical_p, 0.0, 1.0)
        _number("repetition_penalty", self.repetition_penalty, 0.0, 100.0)
        _number("presence_penalty", self.presence_penalty, -2.0, 2.0)
        _number("frequency_penalty", self.frequency_penalty, -2.0, 2.0)
        _number("length_penalty", self.length_penalty, -MAX_LENGTH_PENALTY, MAX_LENGTH_PENALTY)
        _number("diversity_penalty", self.diversity_penalty, 0.0, 100.0)
        for name in ("top_p", "typical_p", "repetition_penalty"):
            if getattr(self, name) == 0.0:
                raise RequestError(f"{name} is 0; it must be greater than 0", param=name)

    def _check_steps(self) -> None:
        _number("xtc_probability", self.xtc_probability, 0.0, 1.0)
        _number("xtc_threshold", self.xtc_threshold, 0.0, 1.0)
        if self.top_n_sigma != -1:
            _number("top_n_sigma", self.top_n_sigma, 0.0, 100.0, " (-1: off)")
        if self.top_n_sigma == 0:
            object.__setattr__(self, "top_n_sigma", -1.0)
        _number("mirostat_tau", self.mirostat_tau, 0.0, 100.0)
        _number("mirostat_eta", self.mirostat_eta, 0.0, 1.0)
        _integer("mirostat", self.mirostat, 0, 2)
        _number("dry_multiplier", self.dry_multiplier, 0.0, 100.0)
        _number("dry_base", self.dry_base, 1.0, 100.0)
        if self.dola_layer is not None:
            _integer("dola_layer", self.dola_layer, 1, MAX_TOKENS)
        _integer("dry_allowed_length", self.dry_allowed_length, 1, MAX_TOKENS)
        _integer("dry_penalty_last_n", self.dry_penalty_last_n, -1, MAX_TOKENS)
        if self.allowed_token_ids == ():
            raise RequestError(
                "allowed_token_ids is empty; list the tokens that may come, or leave it out",
                param="allowed_token_ids",
            )
        beside = [name for name, off in TRUNCATIONS.items() if getattr(self, name) != off]
        if self.mirostat and beside:
            raise RequestError(
                f"mirostat is {self.mirostat} and {beside[0]} is {getattr(self, beside[0])}; "
                f"mirostat decides alone what may be drawn, so leave {beside[0]} out",
                param="mirostat",
            )

    def _check_flags(self) -> None:
        for name in ("include_stop_str_in_output", "ignore_eos", "skip_special_tokens", "use_beam_search"):
            if not isinstance(getattr(self, name), bool):
                raise RequestError(f"{name} is {getattr(self, name)!r}; it must be true or false", param=name)
        if not isinstance(self.early_stopping, bool) and self.early_stopping != "never":
            raise RequestError(
                f'early_stopping is {self.early_stopping!r:.80}; it must be true, false or "never"',
                param="early_stopping",
            )

    @property
    def greedy(self) -> bool:
        """True when the most likely token is always taken."""
        return self.temperature == 0.0

    @property
    def beam_width(self) -> int:
        """How many beams a search follows."""
        return self.best_of or self.n

    @property
    def penalises(self) -> bool:
        """True when tokens that came before change the chances of the next one."""
        return bool(self.repetition_penalty != 1.0 or self.presence_penalty or self.frequency_penalty)


def _integer(name: str, value: object, low: int, high: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int):
        raise RequestError(f"{name} is {value!r}; it must be an integer", param=name)
    if not low <= value <= high:
        raise RequestError(f"{name} is {value}; it must be between {low} and {high}", param=name)


def _number(name: str, value: object, low: float, high: float, off: str = "") -> None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise RequestError(f"{name} is {value!r}; it must be a number", param=name)
    if not low <= value <= high:  # NaN is not
        raise RequestError(f"{name} is {value}; it must be between {low} and {high}{off}", param=name)


def _strings(name: str, values: object, most: int = MAX_STOPS) -> tuple[str, ...]:
    if not isinstance(values, list | tuple) or not all(isinstance(v, str) for v in values):
        raise RequestError(f"{name} is {values!r:.80}; it must be a string or a list of strings", param=name)
    if len(values) > most:
        raise RequestError(f"{name} has {len(values)} entries; at most {most} are accepted", param=name)
    if any(not v for v in values):
        raise RequestError(
            f"{name} has an empty string; every entry needs at least one character", param=name
        )
    if any("\ud800" <= character <= "\udfff" for value in values for character in value):
        raise RequestError(f"{name} is not valid Unicode: it holds a lone surrogate", param=name)
    return tuple(values)


def _words(name: str, values: object, most: int) -> tuple[str, ...]:
    words = _strings(name, values, most)
    longest = max(map(len, words), default=0)
    if longest > MAX_WORD_CHARS:
        raise RequestError(
            f"{name} has an entry of {longest} characters; at most {MAX_WORD_CHARS} are accepted", param=name
        )
    return words


def _processors(values: object) -> tuple[Callable[..., Any], ...]:
    if not isinstance(values, list | tuple):
        raise RequestError(
            f"logits_processors is {values!r:.80}; it must be a list of callables", param="logits_processors"
        )
    for value in values:
        num_processor_arguments(value)
    return tuple(values)


def num_processor_arguments(processor: object) -> int:
    """How a processor is called: 2 for (output_token_ids, logits), 3 with prompt_token_ids before them.

    Raises RequestError when it can be called neither way.
    """
    if callable(processor):
        for count in (2, 3):
            try:
                inspect.signature(processor).bind(*range(count))
            except (TypeError, ValueError):
                continue
            return count
    raise RequestError(
        f"logits_processors has {processor!r:.80}; each must be a callable of (output_token_ids, logits) "
        "or of (prompt_token_ids, output_token_ids, logits)",
        param="logits_processors",
    )


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
