"""Logits of one text by transformers, in float32, for `redline verify`. Writes a NumPy file and ends.

Started with one argument, a JSON object: `model` (a GGUF file or a directory with safetensors), `threads`,
`ids` (the text), `first` (the position from which logits are wanted), `path` (where these go, as
[T, vocabulary]).
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from transformers.modeling_gguf_pytorch_utils import load_gguf_checkpoint


def main() -> None:
    options = json.loads(sys.argv[1])
    torch.set_num_threads(options["threads"])
    model = _open(Path(options["model"]))
    with torch.inference_mode():
        logits_TV = model(torch.tensor([options["ids"]])).logits[0, options["first"] :]
    np.save(options["path"], logits_TV.float().numpy())


def _open(path: Path) -> Any:
    if path.is_dir():
        return transformers.AutoModelForCausalLM.from_pretrained(str(path), dtype=torch.float32).eval()
    # What from_pretrained does with a GGUF file, without the package that it wants for that.
    config = transformers.AutoConfig.from_pretrained(str(path.parent), gguf_file=path.name)
    model = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    found = load_gguf_checkpoint(str(path), return_tensors=True, model_to_load=model)["tensors"]
    missing, _ = model.load_state_dict(found, strict=False)
    model.tie_weights()
    tied = {"lm_head.weight"} if config.tie_word_embeddings else set()
    if lost := set(missing) - tied:
        raise ValueError(f"{path.name} lacks {', '.join(sorted(lost)[:3])}")
    return model.eval()


if __name__ == "__main__":
    main()
