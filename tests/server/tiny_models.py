"""Models of a few hundred KiB that load in a moment, each with answers of its own."""

import numpy as np

from tests.models.files import gguf_bytes
from tests.models.vocabularies import byte_level_metadata

LAYERS, HEADS, CONTEXT = 2, 2, 512


def write_tiny_model(path, seed, *, hidden=64):
    """A Llama with random weights and a small vocabulary, as GGUF; `seed` makes it answer otherwise."""
    metadata = byte_level_metadata("smollm")
    metadata |= {
        "general.architecture": "llama",
        "llama.context_length": CONTEXT,
        "llama.embedding_length": hidden,
        "llama.block_count": LAYERS,
        "llama.feed_forward_length": 2 * hidden,
        "llama.attention.head_count": HEADS,
        "llama.attention.head_count_kv": 1,
        "llama.attention.layer_norm_rms_epsilon": 1e-5,
    }
    rng = np.random.default_rng(seed)
    shapes = _shapes(len(metadata["tokenizer.ggml.tokens"]), hidden)
    tensors = {name: rng.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}
    path.write_bytes(gguf_bytes(metadata, tensors))
    return path


def _shapes(vocab, hidden):
    ffn, kv_size = 2 * hidden, hidden // HEADS
    shapes = {"token_embd.weight": (vocab, hidden), "output_norm.weight": (hidden,)}
    for layer in range(LAYERS):
        parts = {
            "attn_norm": (hidden,), "attn_q": (hidden, hidden), "attn_k": (kv_size, hidden),
            "attn_v": (kv_size, hidden), "attn_output": (hidden, hidden), "ffn_norm": (hidden,),
            "ffn_gate": (ffn, hidden), "ffn_up": (ffn, hidden), "ffn_down": (hidden, ffn),
        }  # fmt: skip
        shapes |= {f"blk.{layer}.{name}.weight": shape for name, shape in parts.items()}
    return shapes
