"""The models that `serve` is told of: on the command line, and in a file with options for each."""

from __future__ import annotations

import argparse
import json
import re
import tomllib
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from redline.cli.engine_flags import DEFAULT_MODEL, engine_options
from redline.config.engine import EngineConfig
from redline.errors import ConfigError
from redline.parsing.choose import REASONING_CHOICES, TOOL_CHOICES, check_parser

# Before "=" a name; what has a slash is a path, whatever follows.
_NAMED = re.compile(r"([A-Za-z0-9._:-]+)=(.+)", re.DOTALL)
OWN = ("aliases", "tool_call_parser", "reasoning_parser")
SHARED = ("threads",)  # one pool of threads serves all models


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelSetting:
    """One model to serve. `options` are those of EngineConfig; None: as for all models."""

    model: str
    options: dict[str, Any]
    name: str | None = None  # None: the model's own, and what the command line calls it
    aliases: tuple[str, ...] = ()
    tool_call_parser: str | None = None
    reasoning_parser: str | None = None

    def engine_config(self, **options: Any) -> EngineConfig:
        """Raises ConfigError when an option is wrong."""
        return EngineConfig.from_dict({"model": self.model, **self.options, **options})


@dataclass(frozen=True, slots=True)
class ModelsFile:
    """A file with a table `models`: a name, and below it `model` and options."""

    path: Path
    text: str = field(repr=False)

    @classmethod
    def read(cls, name: str) -> ModelsFile:
        """Raises ConfigError when it cannot be read."""
        try:
            return cls(Path(name), Path(name).read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"--models-file {name!r} cannot be read: {error}") from None

    def settings(self, common: dict[str, Any]) -> list[ModelSetting]:
        """The models in their order. `common`: options of those that say nothing else. Raises ConfigError."""
        data = self._parsed()
        if not isinstance(data, dict) or list(data) != ["models"] or not isinstance(data["models"], dict):
            raise ConfigError(f"{self.path} must have one table, models, with one for each: [models.NAME]")
        return [self._setting(name, table, common) for name, table in data["models"].items()]

    def _parsed(self) -> Any:
        try:
            return json.loads(self.text) if self.path.suffix == ".json" else tomllib.loads(self.text)
        except ValueError as error:
            raise ConfigError(f"{self.path} is neither TOML nor, as .json, JSON: {error}") from None

    def _setting(self, name: str, table: Any, common: dict[str, Any]) -> ModelSetting:
        try:
            return _setting(name, table, common)
        except ConfigError as error:
            raise ConfigError(f"{self.path}, models.{name}: {error}") from None


def _setting(name: str, table: Any, common: dict[str, Any]) -> ModelSetting:
    if not isinstance(table, dict):
        raise ConfigError(f"it is {table!r:.60}; it must be a table with model = ...")
    for key in SHARED:
        if key in table:
            raise ConfigError(f"{key} is for all models; give it on the command line")
    _check_names(table)
    own = {key: table[key] for key in OWN if key in table}
    model = table.get("model")
    options = {key: value for key, value in table.items() if key not in ("model", *OWN)}
    setting = ModelSetting(
        model=model if isinstance(model, str) else "",
        name=name,
        options=common | options,
        **own | {"aliases": _aliases(own.get("aliases", []))},
    )
    setting.engine_config()
    check_parser("tool_call_parser", setting.tool_call_parser or "auto", TOOL_CHOICES)
    check_parser("reasoning_parser", setting.reasoning_parser or "auto", REASONING_CHOICES)
    return setting


def _check_names(table: dict[str, Any]) -> None:
    known = [*EngineConfig.__dataclass_fields__, *OWN]
    for key in table:
        if key not in known:
            close = get_close_matches(key, known, n=1)
            hint = f"; did you mean {close[0]!r}?" if close else f"; known: {', '.join(known)}"
            raise ConfigError(f"unknown option {key!r}{hint}")


def _aliases(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(each, str) and each for each in value):
        raise ConfigError(f"aliases is {value!r:.60}; it must be a list of names")
    return tuple(value)


def model_settings(args: argparse.Namespace) -> list[ModelSetting]:
    """All models that the command line names, those of the file last; one at least. Raises ConfigError."""
    if args.models and args.model is not None:
        raise ConfigError(
            f"--model is {args.model!r}, and {args.models[0]!r} is given too; name all models without --model"
        )
    common = engine_options(args)
    given = args.models or ([] if args.model is None else [args.model])
    settings = [_named(text, common) for text in given]
    if args.models_file is not None:
        settings += ModelsFile.read(args.models_file).settings(common)
    if not settings:
        settings = [ModelSetting(model=DEFAULT_MODEL, options=common)]
    for setting in settings:
        setting.engine_config()
    return settings


def _named(text: str, common: dict[str, Any]) -> ModelSetting:
    match = _NAMED.fullmatch(text)
    if match is None:
        return ModelSetting(model=text, options=common)
    return ModelSetting(model=match[2], name=match[1], options=common)
