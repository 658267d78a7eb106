"""EagleHead: one layer that guesses the model's next hidden state, and with it the next token.

Li, Wei, Zhang and Zhang, "EAGLE: Speculative Sampling Requires Rethinking Feature Uncertainty", ICML 2024,
arXiv:2401.15077. The feature of a position is the model's last hidden state behind its final norm. The head
takes that of position t and the token at t + 1:

    x = fc([embedding(token t+1); feature t])
    x = x + attention(x)          with no norm before it, at position t
    x = x + mlp(norm(x))          the guessed feature of t + 1

The model's own output matrix makes logits of it. A guessed feature stands for the true one where that is not
known yet. The layout is that of the public checkpoints of EAGLE-1 for Llama: config.json, a LlamaConfig of
one layer, and model.safetensors with `fc.weight`, maybe `fc.bias`, and `layers.0.*` without an
`input_layernorm`; `embed_tokens.weight` repeats the model's embedding and is not read. Checkpoints of EAGLE-2
have this layout too, but its tree of guesses is not built; those of EAGLE-3 are refused.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from redline.cache.paged import PagedKV
from redline.errors import ModelFileError, UnsupportedModel
from redline.layers.batch import Batch
from redline.layers.norm import NO_NORM
from redline.layers.rotary import RotaryTable
from redline.models.config_reader import ConfigReader
from redline.models.decoder import Decoder, load_attention, load_linear, load_mlp, load_norm
from redline.models.llama import spec_from_hf
from redline.models.safetensors_file import SafetensorsFile, open_safetensors, read_json_object
from redline.models.safetensors_weights import HF_NAMES, SafetensorsWeights
from redline.models.sized_weights import SizedSafetensors, Sizes
from redline.models.spec import ModelSpec
from redline.models.weights import WeightSource
from redline.ops.arrays import F32, I32

ARCHITECTURE = "LlamaForCausalLM"
NAMES = HF_NAMES | {"token_embd": "embed_tokens", "blk": "layers"}
OF_EAGLE_3 = ("d2t", "t2d", "midlayer.")  # how names of its tensors begin


class EagleHead:
    """The layer, for the model `target`, whose embedding and output matrix it uses."""

    def __init__(self, spec: ModelSpec, weights: WeightSource, target: Decoder) -> None:
        size = spec.hidden_size
        self.spec = spec
        self._target = target
        self._rotary = RotaryTable(spec.layers[0].rope, spec.max_context)
        self._fc = load_linear(weights, [("fc", size)], 2 * size, bias=weights.has("fc.bias"))
        self._attention = load_attention(spec, 0, weights, self._rotary)
        self._mlp_norm = load_norm(spec, weights, "blk.0.ffn_norm")
        self._mlp = load_mlp(spec, 0, weights)
        weights.finish()

    def set_max_context(self, max_context: int) -> None:
        """State the longest context to be served, before anything is computed (see RotaryTable)."""
        self._rotary.set_max_context(max_context)

    def __call__(self, ops: Any, batch: Batch, features_TD: F32, kv: PagedKV) -> F32:
        """The guessed features [R, D] behind the rows in batch.logit_rows_R, one at least.

        Row t of the batch is at the position of its feature and has the token of the next one. Stores the
        keys and values of all rows.
        """
        self._rotary.cover(int(batch.context_lens_S.max()))
        tokens_TD = self._target.embedding.embedding(ops, batch.token_ids_T)
        x_TD = self._fc(ops, np.concatenate([tokens_TD, features_TD], axis=1))
        rows_R = batch.logit_rows_R
        x_RD: F32 = self._attention(ops, x_TD, NO_NORM, batch, kv, rows_R, x_TD[rows_R])
        return self._mlp(ops, x_RD, self._mlp_norm, residual_TD=x_RD)

    def guess(self, ops: Any, features_RD: F32) -> I32:
        """The likeliest token for each guessed feature, -1 where there are no numbers; [R]."""
        token_ids_R: I32 = ops.argmax(self._target.output.matmul(ops, features_RD))
        return token_ids_R


class EagleFiles:
    """The directory of a head, checked; no weight is read.

    Raises ModelFileError when a file is missing, wrong or does not fit the model, UnsupportedModel for what
    the head has beyond the above.
    """

    def __init__(self, path: Path, target: ModelSpec) -> None:
        self.path = path
        self.spec = _read_config(path / "config.json", target)
        if not list(path.glob("model.safetensors*")) and list(path.glob("*.bin")):
            raise ModelFileError(
                f"{path}: there are .bin files and no model.safetensors; .bin files are Python pickles, "
                "which can run code when they are read: convert them to safetensors"
            )
        self._files = open_safetensors(path)
        _check_tensors(self._files, target)

    def size(self, target: Decoder, compute: str) -> Sizes:
        """What load() will take. Raises ModelError as it does."""
        sizes = Sizes()
        self._head(partial(SizedSafetensors, sizes=sizes), target, compute)
        return sizes

    def load(self, target: Decoder, compute: str) -> EagleHead:
        """The head, in float32 when `compute` is "float", else as stored."""
        return self._head(SafetensorsWeights, target, compute)

    def _head(self, source: Any, target: Decoder, compute: str) -> EagleHead:
        weights = source(self.path, self._files, compute=compute, names=NAMES)
        weights.ignore("token_embd.weight")
        return EagleHead(self.spec, weights, target)


def _read_config(source: Path, target: ModelSpec) -> ModelSpec:
    values = read_json_object(source)
    if values.get("architectures") != [ARCHITECTURE] or "draft_vocab_size" in values:
        raise UnsupportedModel(
            f"{source}: architectures is {values.get('architectures')!r:.80}; a head of EAGLE-1 for Llama is "
            f"needed, which says {ARCHITECTURE!r} there (EAGLE-3 and other kinds of heads are not supported)"
        )
    config = ConfigReader(values, str(source))
    config.default("bias", True)  # of fc; the tensors tell
    spec = spec_from_hf(config)
    for key, value, wanted in (
        ("num_hidden_layers", spec.num_layers, 1),
        ("hidden_size", spec.hidden_size, target.hidden_size),
        ("vocab_size", spec.vocab_size, target.vocab_size),
    ):
        if value != wanted:
            raise ModelFileError(f"{source}: {key} is {value}; a head for this model has {wanted}")
    return spec


def _check_tensors(files: list[SafetensorsFile], target: ModelSpec) -> None:
    shape = (target.vocab_size, target.hidden_size)
    for file in files:
        for name, tensor in file.tensors.items():
            if name.startswith(OF_EAGLE_3):
                raise UnsupportedModel(
                    f"{file.path}: tensor {name} belongs to EAGLE-3, which is not supported; a head of "
                    "EAGLE-1 is needed"
                )
            if name == "embed_tokens.weight" and tensor.shape != shape:
                raise ModelFileError(
                    f"{file.path}: tensor {name} has shape {tensor.shape}; the embedding of this model has "
                    f"{shape}"
                )
