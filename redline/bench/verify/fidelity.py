"""Checks of what is not exact: how far predictions move from those of the reference ops, and within bounds.

The text is one that the model writes itself, so that every model has one. Compared are the predictions of its
second half.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import cached_property, partial
from pathlib import Path

import numpy as np

from redline.bench.fidelity import Fidelity, compare, teacher_forced
from redline.bench.verify.drawing import drawing
from redline.bench.verify.outcome import Check, Promise, Verdict
from redline.bench.verify.peer import PeerCannot, transformers_logits
from redline.bench.verify.subject import CONTEXT, Subject
from redline.catalogue.formats import INT8_BOUND
from redline.config.resolve import RuntimeConfig
from redline.config.sampling import SamplingParams
from redline.engine.memory import hardware
from redline.models.decoder import Decoder
from redline.models.load_weights import load_weights
from redline.ops.arrays import F32
from redline.ops.registry import backend
from redline.technique import Bound, Technique
from redline.techniques import TECHNIQUES

SEED = 20_26
SHORT_TEXT = 48  # tokens for the reference ops, which are slow
SAMPLED_ROWS = 4
CHUNK = 20  # so that chunks look back at earlier ones
REFERENCE = Bound("the reference ops, with float weights", 0.98, 1e-5)
TEMPERATURE = (
    0.7  # a text without surprises: where two tokens are all but equal, the first of them says little
)
STANDARD_ERRORS = 2.0  # by which an agreement over so few tokens may be below what is promised
KV_FORMATS = {f"{name}-kv": name for name in ("f16", "bf16", "int8", "fp8", "int4")}
INTEGER_ACTIVATIONS = "integer-activations"
# The same weights in float32, multiplied by other code in another order.
TRANSFORMERS = Bound("transformers in float32 on the same weights", 0.98, 1e-5)
NO_MEMORY = "the weights need more memory in float32 than there is"


class Predictions:
    """What a model says of one text, with float kernels or integer ones, computed once each."""

    def __init__(self, subject: Subject, path: Path, runtime: RuntimeConfig) -> None:
        self.runtime = runtime
        self._subject = subject
        self._path = path
        self._decoders: dict[str, Decoder] = {}
        self._logits: dict[tuple[str, str], F32] = {}

    @cached_property
    def text(self) -> list[int]:
        """Token ids."""
        params = SamplingParams(max_tokens=CONTEXT - 8, ignore_eos=True, seed=SEED, temperature=TEMPERATURE)
        with self._subject.opened() as llm:
            [output] = llm.generate("The", params)
        return [*output.prompt_token_ids, *output.choices[0].token_ids]

    def decoder(self, compute: str) -> Decoder:
        """The model, loaded so."""
        if compute not in self._decoders:
            self._decoders[compute] = load_weights(self._path, backend(self.runtime.backend), compute)
        return self._decoders[compute]

    def of(self, compute: str, kv_format: str) -> F32:
        """Logits [T, vocabulary] of the second half."""
        if (compute, kv_format) not in self._logits:
            half = teacher_forced(self.decoder(compute), self.text, kv_format, first=len(self.text) // 2)
            self._logits[compute, kv_format] = np.concatenate(list(half))
        return self._logits[compute, kv_format]

    @cached_property
    def of_transformers(self) -> F32 | PeerCannot:
        """What transformers says of the second half, or why it says nothing."""
        try:
            return transformers_logits(self._path, self.text, len(self.text) // 2, self.runtime.threads)
        except PeerCannot as reason:
            return reason

    @property
    def lacks_memory(self) -> bool:
        """Whether the weights do not fit in float32: eight times the file, if its weights have 4 bits."""
        files = [self._path] if self._path.is_file() else list(self._path.glob("*.safetensors"))
        return 8 * sum(file.stat().st_size for file in files) > hardware().free_bytes


def fidelity_checks(subject: Subject, path: Path, runtime: RuntimeConfig) -> Iterator[Check]:
    """Tolerances first, then bounds."""
    predictions = Predictions(subject, path, runtime)
    yield Check(name="reference ops", promise="tolerance", run=partial(_reference, predictions, path))
    for compute, kind in (("float", "float"), ("int8", "integer")):
        run = partial(_transformers, predictions, compute)
        promise: Promise = "tolerance" if compute == "float" else "bound"
        yield Check(name=f"transformers against {kind} kernels", promise=promise, run=run)
    yield Check(name="sampler", promise="tolerance", run=partial(_sampler, predictions))
    for technique in TECHNIQUES:
        if technique.name in KV_FORMATS or technique.name == INTEGER_ACTIVATIONS:
            run = partial(_bound, predictions, technique)
            yield Check(name=technique.name, promise="bound", run=run)


def _reference(predictions: Predictions, path: Path) -> Verdict:
    if predictions.lacks_memory:
        return Verdict("skipped", NO_MEMORY)
    text, kv_format = predictions.text[:SHORT_TEXT], predictions.runtime.kv_format
    reference = load_weights(path, backend("reference"), "float")
    both = (reference, predictions.decoder("float"))
    pair = [np.concatenate(list(teacher_forced(decoder, text, kv_format, CHUNK))) for decoder in both]
    return _within(compare([(pair[0], pair[1])]), REFERENCE)


def _sampler(predictions: Predictions) -> Verdict:
    """On logits of the model, some of which are sure of the next token and some are not."""
    logits_TV = predictions.of("int8", "f16")
    rows = np.linspace(0, len(logits_TV) - 1, SAMPLED_ROWS).astype(int)
    return drawing(backend(predictions.runtime.backend), logits_TV[rows])


def _transformers(predictions: Predictions, compute: str) -> Verdict:
    """Float kernels within rounding, integer ones within their bound."""
    if predictions.lacks_memory:
        return Verdict("skipped", NO_MEMORY)
    theirs = predictions.of_transformers
    if isinstance(theirs, PeerCannot):
        return Verdict("skipped", str(theirs))
    kv_format, bound = ("f32", TRANSFORMERS) if compute == "float" else ("f16", INT8_BOUND)
    return _within(compare([(theirs, predictions.of(compute, kv_format))]), bound)


def _bound(predictions: Predictions, technique: Technique) -> Verdict:
    assert technique.limit is not None, f"{technique.name} states no bound"
    if predictions.lacks_memory:
        return Verdict("skipped", NO_MEMORY)
    integers = technique.name == INTEGER_ACTIVATIONS
    compute, kv_format = ("int8", "f16") if integers else ("float", KV_FORMATS[technique.name])
    baseline, found = predictions.of("float", "f32"), predictions.of(compute, kv_format)
    if np.array_equal(baseline, found):
        # No model rounds to the same bits, unless it has nothing that is stored so.
        same = "the predictions have the bits of the baseline"
        if integers:
            return Verdict("skipped", f"{same}: no weight of this model is multiplied as integers")
        return Verdict("broken", f"{same}: the format is not in use")
    return _within(compare([(baseline, found)]), technique.limit)


def _within(found: Fidelity, bound: Bound) -> Verdict:
    noise = math.sqrt(bound.least_top1 * (1.0 - bound.least_top1) / found.num_tokens)
    least = bound.least_top1 - STANDARD_ERRORS * noise
    holds = found.top1_agreement >= least and found.mean_kl <= bound.most_kl
    numbers = f"top-1 agreement {found.top1_agreement:.1%}, mean KL {found.mean_kl:.2g}"
    limits = f"{bound.least_top1:.1%} and {bound.most_kl:g} promised"
    return Verdict("holds" if holds else "broken", f"{numbers}; {limits}, {found.num_tokens} tokens")
