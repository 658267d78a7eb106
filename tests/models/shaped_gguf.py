"""A GGUF file of a given shape: SmolLM2's vocabulary, random weights, hundreds of MiB in a second."""

import struct

import numpy as np

from redline.models.gguf_file import GGUFFile
from tests.models.files import key_value, tensor_info

Q8_0 = 8
BLOCK = np.dtype([("scale", "<f2"), ("codes", "i1", 32)])  # of Q8_0


def write_shaped_gguf(path, like, *, hidden, ffn, layers, heads, kv_heads):
    """A Llama whose matrices are Q8_0, with the vocabulary of the GGUF file `like`."""
    metadata = dict(GGUFFile(like).metadata.items()) | {
        "llama.embedding_length": hidden,
        "llama.feed_forward_length": ffn,
        "llama.block_count": layers,
        "llama.attention.head_count": heads,
        "llama.attention.head_count_kv": kv_heads,
        "llama.rope.dimension_count": hidden // heads,
    }
    kv_size = hidden // heads * kv_heads
    vocab = len(metadata["tokenizer.ggml.tokens"])
    shapes = {"token_embd": (vocab, hidden), "output_norm": (hidden,)}
    for layer in range(layers):
        parts = {
            "attn_norm": (hidden,), "attn_q": (hidden, hidden), "attn_k": (kv_size, hidden),
            "attn_v": (kv_size, hidden), "attn_output": (hidden, hidden), "ffn_norm": (hidden,),
            "ffn_gate": (ffn, hidden), "ffn_up": (ffn, hidden), "ffn_down": (hidden, ffn),
        }  # fmt: skip
        shapes |= {f"blk.{layer}.{name}": shape for name, shape in parts.items()}
    _write(path, metadata, {f"{name}.weight": shape for name, shape in shapes.items()})
    return path


def _write(path, metadata, shapes):
    infos, offset = [], 0
    for name, shape in shapes.items():
        infos.append(tensor_info(name, shape, offset, Q8_0 if len(shape) == 2 else 0))
        offset += _num_bytes(shape)
    header = b"GGUF" + struct.pack("<IQQ", 3, len(shapes), len(metadata))
    header += b"".join(key_value(key, value) for key, value in metadata.items()) + b"".join(infos)
    with path.open("wb") as file:
        file.write(header + bytes(-len(header) % 32))
        for shape in shapes.values():
            file.write(_values(shape))


def _num_bytes(shape):
    return int(np.prod(shape)) // 32 * BLOCK.itemsize if len(shape) == 2 else 4 * shape[0]


def _values(shape):
    """Random codes that repeat after a while, of a size that keeps sums near one."""
    if len(shape) == 1:
        return np.ones(shape, "<f4").tobytes()
    blocks = np.zeros(4099, BLOCK)
    blocks["scale"] = 0.02 / shape[1] ** 0.5
    blocks["codes"] = np.random.default_rng(3).integers(-100, 100, blocks["codes"].shape)
    return np.resize(blocks, _num_bytes(shape) // BLOCK.itemsize).tobytes()
