"""SpeculativeConfig: which proposer guesses tokens ahead, and how far."""

from __future__ import annotations

from dataclasses import MISSING, dataclass, fields
from typing import Any, Literal, Self

from redline.config.checks import check_count
from redline.errors import ConfigError

# Of each method, the options that it takes beside num_speculative_tokens.
LOOKUP = ("min_match", "max_match", "num_branches")
METHODS: dict[str, tuple[str, ...]] = {
    "ngram": LOOKUP,
    "history": (*LOOKUP, "history_tokens"),
    "draft_model": ("model",),
    "early_exit": ("layers",),
    "layer_skip": ("skip",),
    "medusa": ("model", "num_branches"),
    "eagle": ("model",),
}
MAX_SPECULATIVE_TOKENS = 64
MAX_BRANCHES = 8


@dataclass(frozen=True, kw_only=True, slots=True)
class SpeculativeConfig:
    """Guess up to `num_speculative_tokens` tokens and compute those that pay (decoding/speculative/).

    ngram: what followed the last `max_match` tokens when they stood here before, else fewer of them, down to
    `min_match`. history: the same, also in the last `history_tokens` tokens of earlier answers to the tenant.
    draft_model: what a smaller model with the same vocabulary says, `model` being its alias or path.
    early_exit: what the model's own first `layers` layers say. layer_skip: what it says without the layers
    `skip`. medusa, eagle: what the heads, or the layer, in the directory `model` say, which were trained for
    the model. `num_branches`: how many continuations of a sequence a step computes at most (token
    trees). Raises ConfigError.
    """

    method: Literal["ngram", "history", "draft_model", "early_exit", "layer_skip", "medusa", "eagle"]
    num_speculative_tokens: int = 15
    min_match: int = 2
    max_match: int = 4
    history_tokens: int = 32_768  # of the answers to each tenant
    model: str | None = None
    layers: int | None = None
    skip: tuple[int, ...] | list[int] = ()
    num_branches: int = 1

    def __post_init__(self) -> None:
        if not isinstance(self.method, str) or self.method not in METHODS:
            raise ConfigError(
                f"speculative method is {self.method!r}; it must be one of {', '.join(METHODS)}, or "
                "speculative None for none"
            )
        self._check_options_of_others()
        for name, low, high in (
            ("num_speculative_tokens", 1, MAX_SPECULATIVE_TOKENS),
            ("min_match", 1, 16),
            ("max_match", 1, 16),
            ("history_tokens", 16, 2**20),
            ("num_branches", 1, MAX_BRANCHES),
        ):
            check_count(f"speculative {name}", getattr(self, name), low, high)
        if self.min_match > self.max_match:
            raise ConfigError(
                f"speculative min_match is {self.min_match} and max_match is {self.max_match}; "
                "min_match must not be the larger"
            )
        _CHECKS.get(self.method, lambda options: None)(self)

    def _check_options_of_others(self) -> None:
        """An option that the method does not read would be lost without a word."""
        own = ("method", "num_speculative_tokens", *METHODS[self.method])
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name not in own and field.default is not MISSING and value != field.default:
                takers = [method for method, options in METHODS.items() if field.name in options]
                raise ConfigError(
                    f"speculative {field.name} is {value!r} and the method is {self.method}; only "
                    f"{_listed(takers)} read it: leave it out"
                )

    def _check_model(self) -> None:
        if not isinstance(self.model, str) or not self.model:
            raise ConfigError(
                f"speculative model is {self.model!r}; draft_model needs the alias or the path of a smaller "
                'model with the same vocabulary, as in {"method": "draft_model", "model": "small.gguf"}'
            )

    def _check_heads(self) -> None:
        if not isinstance(self.model, str) or not self.model:
            raise ConfigError(
                f"speculative model is {self.model!r}; medusa needs the directory of heads that were trained "
                'for the model, as in {"method": "medusa", "model": "heads"}'
            )

    def _check_layer(self) -> None:
        if not isinstance(self.model, str) or not self.model:
            raise ConfigError(
                f"speculative model is {self.model!r}; eagle needs the directory of a layer that was trained "
                'for the model, as in {"method": "eagle", "model": "layer"}'
            )

    def _check_layers(self) -> None:
        check_count("speculative layers", self.layers, 1, 1024)

    def _check_skip(self) -> None:
        if not isinstance(self.skip, list | tuple) or not self.skip:
            raise ConfigError(
                f"speculative skip is {self.skip!r}; layer_skip needs the layers to leave out, the first "
                'being 0, as in {"method": "layer_skip", "skip": [10, 11, 12]}'
            )
        for layer in self.skip:
            check_count("a layer of speculative skip", layer, 0, 1023)
        object.__setattr__(self, "skip", tuple(sorted(set(self.skip))))

    @classmethod
    def parse(cls, value: object) -> Self | None:
        """From None, the name of a method, or a dictionary of these fields. Raises ConfigError."""
        if value is None or isinstance(value, cls):
            return value
        if isinstance(value, str):
            return cls(method=value)  # type: ignore[arg-type]  # checked above
        if not isinstance(value, dict):
            raise ConfigError(
                f'speculative is {value!r:.80}; it must be None, a method such as "ngram", or a dictionary '
                'such as {"method": "ngram", "num_speculative_tokens": 8}'
            )
        return cls._from_dict(value)

    @classmethod
    def _from_dict(cls, values: dict[str, Any]) -> Self:
        known = [field.name for field in fields(cls)]
        for key in values:
            if key not in known:
                raise ConfigError(f"speculative has the unknown key {key!r}; known: {', '.join(known)}")
        if "method" not in values:
            raise ConfigError(f"speculative names no method; it must be one of {', '.join(METHODS)}")
        return cls(**values)


def _listed(names: list[str]) -> str:
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))


_CHECKS = {
    "draft_model": SpeculativeConfig._check_model,
    "medusa": SpeculativeConfig._check_heads,
    "eagle": SpeculativeConfig._check_layer,
    "early_exit": SpeculativeConfig._check_layers,
    "layer_skip": SpeculativeConfig._check_skip,
}
