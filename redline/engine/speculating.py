"""The speculation of an engine: what it takes beside the model, and how it is put together."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from redline.cache.paged import PagedKV
from redline.config.engine import EngineConfig
from redline.config.resolve import CacheConfig, RuntimeConfig, resolve_context
from redline.config.speculative import MAX_SPECULATIVE_TOKENS, SpeculativeConfig
from redline.decoding.speculative.history import HistoryProposer
from redline.decoding.speculative.ngram import NgramProposer
from redline.decoding.speculative.proposer import BatchProposer, Proposer
from redline.engine.activations import Kind
from redline.engine.budget import most_decode_rows, replays
from redline.engine.draft_blocks import DraftBlocks
from redline.engine.draft_model import DraftModel
from redline.engine.draft_passes import DraftPasses
from redline.engine.drafting_memory import (
    NO_DRAFTING,
    DraftingMemory,
    draft_model_memory,
    eagle_memory,
    heads_memory,
    self_drafting_memory,
)
from redline.engine.eagle import EagleDrafting
from redline.engine.forward import EagerForward, Forward, ReplayForward
from redline.engine.medusa import MedusaDrafting
from redline.engine.model_speculation import ModelSpeculation
from redline.engine.self_drafting import SelfDrafting
from redline.engine.speculation import AdaptiveSpeculation, NoSpeculation, Speculation
from redline.engine.tree_speculation import TreeSpeculation
from redline.errors import ConfigError
from redline.models.decoder import Decoder
from redline.models.eagle import EagleFiles
from redline.models.load import LoadedModel, ModelFiles, open_files
from redline.models.load_weights import load_weights
from redline.models.medusa import FILE as MEDUSA_FILE
from redline.models.medusa import MedusaFile, MedusaHeads
from redline.models.pull import resolve_model
from redline.ops.memory import return_freed_memory
from redline.ops.registry import Backend


class Parts(NamedTuple):
    """What an engine is made of so far."""

    model: LoadedModel
    kv: PagedKV
    forward: Forward
    cache: CacheConfig


class SpeculationPlan(Protocol):
    """Speculation before the model is loaded."""

    memory: DraftingMemory

    def build(self, parts: Parts) -> Speculation:
        """Make it, and load what it needs."""


def plan_speculation(
    config: EngineConfig,
    runtime: RuntimeConfig,
    files: ModelFiles,
    decoder: Decoder,
    ops: Backend,
    kind: Kind,
) -> SpeculationPlan:
    """What the configuration asks for. `decoder`: the model without its weights.

    Raises ConfigError when it does not fit the model, ModelError when a draft model cannot be used.
    """
    options = SpeculativeConfig.parse(config.speculative)
    if options is None:
        return NoPlan()
    setting = _Setting(config, options, runtime, files, decoder, ops, kind)
    return _PLANS[options.method](setting)


@dataclass(frozen=True, slots=True)
class _Setting:
    """What a plan is made for."""

    config: EngineConfig
    options: SpeculativeConfig
    runtime: RuntimeConfig
    files: ModelFiles
    decoder: Decoder
    ops: Backend
    kind: Kind

    @property
    def max_rows(self) -> int:
        return most_decode_rows(self.config)

    @property
    def recorded(self) -> bool:
        return replays(self.config, self.runtime)

    def speculation(self, proposer: BatchProposer, most: int = MAX_SPECULATIVE_TOKENS) -> Speculation:
        most = min(self.options.num_speculative_tokens, most)
        return ModelSpeculation(proposer, most, self.max_rows, self.options.method)

    def passes(self, forward: Forward) -> DraftPasses:
        return DraftPasses(forward, self.ops, self.config.block_size, time.perf_counter)


class NoPlan:
    """Nothing is guessed."""

    memory = NO_DRAFTING

    def build(self, parts: Parts) -> Speculation:
        return NoSpeculation()


class _LookupPlan:
    """Drafts that are found in texts."""

    memory = NO_DRAFTING

    def __init__(self, setting: _Setting) -> None:
        self._setting = setting

    def build(self, parts: Parts) -> Speculation:
        options = self._setting.options
        proposer = _PROPOSERS[options.method](options)
        most, rows = options.num_speculative_tokens, self._setting.max_rows
        return AdaptiveSpeculation(proposer, most, rows, options.method, options.num_branches)


_PROPOSERS: dict[str, Callable[[SpeculativeConfig], Proposer]] = {
    "ngram": lambda options: NgramProposer(options.min_match, options.max_match),
    "history": lambda options: HistoryProposer(options.min_match, options.max_match, options.history_tokens),
}


class _DraftModelPlan:
    """Drafts of a smaller model."""

    def __init__(self, setting: _Setting) -> None:
        self._setting = setting
        assert setting.options.model is not None, "checked by SpeculativeConfig"
        files = open_files(resolve_model(setting.options.model))
        sized = files.size(setting.ops, setting.runtime.compute)
        _check_vocabulary(setting, files, sized[0])
        self._spec, self._source = sized[0].spec, files.gguf or files.path
        del files  # and with it the vocabulary, which is not needed twice
        return_freed_memory()
        _check_sees_all(setting)
        context, _ = resolve_context(setting.config, setting.decoder.spec.max_context)
        self.memory = draft_model_memory(
            setting.config, setting.runtime, sized, setting.kind, context, setting.max_rows, setting.recorded
        )

    def build(self, parts: Parts) -> Speculation:
        setting, spec = self._setting, self._spec
        context = min(parts.cache.max_context, spec.max_context)
        decoder = load_weights(self._source, setting.ops, setting.runtime.compute)
        decoder.set_max_context(context)
        kv = PagedKV(
            groups=spec.group_of_layer,
            num_blocks=[parts.cache.num_blocks[0]] * len(spec.windows),
            block_size=setting.config.block_size,
            num_kv_heads=spec.num_kv_heads,
            head_dim=spec.head_dim,
            dtype=setting.runtime.kv_format,
            owners=spec.kv_owners,
        )
        forward: Forward = EagerForward(decoder, kv)
        if setting.recorded:
            forward = ReplayForward(decoder, kv, self.memory.arena_blocks, setting.max_rows)
        proposer = DraftModel(
            setting.passes(forward),
            DraftBlocks(setting.config.block_size),
            num_groups=len(spec.windows),
            max_context=context,
            chunk=setting.config.chunked_prefill or context,
        )
        return setting.speculation(proposer)


class _SelfPlan:
    """Drafts of some of the model's own layers."""

    def __init__(self, setting: _Setting) -> None:
        self._setting = setting
        self._layers = _layers_kept(setting.options, setting.decoder.spec.num_layers)
        setting.decoder.only(self._layers)  # where that cannot be, say so before anything is loaded
        self.memory = self_drafting_memory(len(self._layers), setting.recorded)

    def build(self, parts: Parts) -> Speculation:
        decoder = parts.model.decoder.only(self._layers)
        forward: Forward = EagerForward(decoder, parts.kv)
        if isinstance(parts.forward, ReplayForward):
            max_rows = self._setting.max_rows
            forward = ReplayForward(decoder, parts.kv, max_tokens=max_rows, shared=parts.forward)
        return self._setting.speculation(SelfDrafting(self._setting.passes(forward), parts.cache.max_context))


class _MedusaPlan:
    """Drafts of heads on the model's hidden states."""

    def __init__(self, setting: _Setting) -> None:
        assert setting.options.model is not None, "checked by SpeculativeConfig"
        self._setting = setting
        self._path = resolve_model(setting.options.model)
        spec, compute = setting.decoder.spec, setting.runtime.compute
        self._sizes = (spec.hidden_size, spec.vocab_size)
        if not self._path.is_dir():
            raise ConfigError(
                f"speculative model is {setting.options.model!r}, a file; medusa needs a directory with "
                f"config.json and {MEDUSA_FILE}"
            )
        num_bytes = MedusaFile(self._path, *self._sizes).num_bytes(compute)
        self.memory = heads_memory(num_bytes, spec.hidden_size, setting.max_rows)

    def build(self, parts: Parts) -> Speculation:
        setting, decoder = self._setting, parts.model.decoder
        heads = MedusaHeads(self._path, *self._sizes, setting.runtime.compute)
        decoder.keeps_hidden = True
        proposer = MedusaDrafting(
            heads,
            parts.forward,
            decoder.output_norm,
            setting.ops,
            parts.cache.max_context,
            time.perf_counter,
        )
        if setting.options.num_branches == 1:
            return setting.speculation(proposer, heads.num_heads)
        most = min(setting.options.num_speculative_tokens, heads.num_heads)
        return TreeSpeculation(proposer, most, setting.max_rows, "medusa", setting.options.num_branches)


class _EaglePlan:
    """Drafts of a layer on the model's hidden states."""

    def __init__(self, setting: _Setting) -> None:
        assert setting.options.model is not None, "checked by SpeculativeConfig"
        self._setting = setting
        path, target = resolve_model(setting.options.model), setting.decoder
        if not path.is_dir():
            raise ConfigError(
                f"speculative model is {setting.options.model!r}, a file; eagle needs a directory with "
                "config.json and model.safetensors"
            )
        if target.spec.embedding_scale != 1.0:
            raise ConfigError(
                f"speculative method is eagle, and {target.spec.architecture} scales its embeddings, which "
                "no layer of EAGLE-1 does: choose another method"
            )
        _check_sees_all(setting)
        self._files = EagleFiles(path, target.spec)
        target.keeps_all_hidden = True  # so that the largest step is measured with them
        context, _ = resolve_context(setting.config, target.spec.max_context)
        self.memory = eagle_memory(
            setting.config,
            setting.runtime,
            self._files.spec,
            self._files.size(target, setting.runtime.compute),
            context,
            setting.max_rows,
        )

    def build(self, parts: Parts) -> Speculation:
        setting, decoder, spec = self._setting, parts.model.decoder, self._files.spec
        context = min(parts.cache.max_context, spec.max_context)
        head = self._files.load(decoder, setting.runtime.compute)
        head.set_max_context(context)
        kv = PagedKV(
            groups=(0,),
            num_blocks=parts.cache.num_blocks[:1],
            block_size=setting.config.block_size,
            num_kv_heads=spec.num_kv_heads,
            head_dim=spec.head_dim,
            dtype=setting.runtime.kv_format,
        )
        decoder.keeps_all_hidden = True
        chunk = setting.config.chunked_prefill or context
        proposer = EagleDrafting(head, kv, decoder, parts.forward, context, chunk, time.perf_counter)
        return setting.speculation(proposer)


_PLANS: dict[str, Callable[[_Setting], SpeculationPlan]] = {
    "ngram": _LookupPlan,
    "history": _LookupPlan,
    "draft_model": _DraftModelPlan,
    "early_exit": _SelfPlan,
    "layer_skip": _SelfPlan,
    "medusa": _MedusaPlan,
    "eagle": _EaglePlan,
}


def _check_sees_all(setting: _Setting) -> None:
    if setting.decoder.spec.windows[0]:
        raise ConfigError(
            f"speculative method is {setting.options.method}, and every layer of the model has a window; "
            "what drafts uses the block tables of layers that see everything: choose ngram or history"
        )


def _check_vocabulary(setting: _Setting, files: ModelFiles, decoder: Decoder) -> None:
    """A draft is token ids, which must mean the same to both models."""
    name, ours, theirs = setting.options.model, setting.decoder.spec.vocab_size, decoder.spec.vocab_size
    if ours != theirs:
        raise ConfigError(
            f"speculative model {name} has a vocabulary of {theirs} tokens and {setting.config.model} one of "
            f"{ours}; choose a draft model of the same family"
        )
    if not files.tokenizer.has_vocabulary_of(setting.files.tokenizer):
        raise ConfigError(
            f"speculative model {name} has other tokens than {setting.config.model}, though as many; choose "
            "a draft model of the same family"
        )


def _layers_kept(options: SpeculativeConfig, num_layers: int) -> list[int]:
    """Of the model, those that draft. Raises ConfigError."""
    if options.layers is not None:
        if options.layers >= num_layers:
            raise ConfigError(
                f"speculative layers is {options.layers} and the model has {num_layers}; leave early after "
                f"1 to {num_layers - 1} of them"
            )
        return list(range(options.layers))
    if max(options.skip) >= num_layers or len(options.skip) == num_layers:
        raise ConfigError(
            f"speculative skip is {list(options.skip)} and the model has {num_layers} layers, the first "
            "being 0; leave out some that it has, and not all"
        )
    return [layer for layer in range(num_layers) if layer not in options.skip]
