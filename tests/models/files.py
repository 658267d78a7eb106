"""Model files written byte by byte, so that tests can write wrong ones too."""

import json
import struct

import numpy as np

SPEC = {"vocab": 23, "hidden": 8, "ffn": 12, "layers": 2, "heads": 2, "kv_heads": 1, "head_dim": 4}


def text(value):
    data = value if isinstance(value, bytes) else value.encode()
    return struct.pack("<Q", len(data)) + data


def key_value(key, value):
    """One metadata entry; the Python type picks the GGUF type."""
    if isinstance(value, bool):
        return text(key) + struct.pack("<I?", 7, value)
    if isinstance(value, int):
        return text(key) + struct.pack("<II", 4, value)
    if isinstance(value, float):
        return text(key) + struct.pack("<If", 6, value)
    if isinstance(value, str):
        return text(key) + struct.pack("<I", 8) + text(value)
    if isinstance(value, np.ndarray):
        kind = {"int32": 5, "float32": 6}[value.dtype.name]
        return text(key) + struct.pack("<IIQ", 9, kind, len(value)) + value.tobytes()
    return text(key) + struct.pack("<IIQ", 9, 8, len(value)) + b"".join(map(text, value))


def tensor_info(name, shape, offset, ggml_type=0):
    dims = tuple(reversed(shape))
    return text(name) + struct.pack(f"<I{len(dims)}QIQ", len(dims), *dims, ggml_type, offset)


def gguf_bytes(metadata, tensors, *, version=3, num_tensors=None, num_keys=None, infos=None, alignment=32):
    """A GGUF file of float32 tensors. The keyword arguments make it lie."""
    offset, made, data = 0, [], b""
    for name, array in tensors.items():
        made.append(tensor_info(name, array.shape, offset))
        padded = array.astype("<f4").tobytes()
        padded += bytes(-len(padded) % alignment)
        data += padded
        offset += len(padded)
    header = b"GGUF" + struct.pack(
        "<IQQ",
        version,
        len(tensors) if num_tensors is None else num_tensors,
        len(metadata) if num_keys is None else num_keys,
    )
    header += b"".join(key_value(key, value) for key, value in metadata.items())
    header += b"".join(made if infos is None else infos)
    return header + bytes(-len(header) % alignment) + data


def llama_metadata(**changes):
    """Metadata of a tiny Llama; None removes a key."""
    values = {
        "general.architecture": "llama",
        "llama.context_length": 32,
        "llama.embedding_length": SPEC["hidden"],
        "llama.block_count": SPEC["layers"],
        "llama.feed_forward_length": SPEC["ffn"],
        "llama.attention.head_count": SPEC["heads"],
        "llama.attention.head_count_kv": SPEC["kv_heads"],
        "llama.attention.layer_norm_rms_epsilon": 1e-5,
    }
    values.update({f"llama.{key.replace('__', '.')}": value for key, value in changes.items()})
    return {key: value for key, value in values.items() if value is not None}


def llama_tensors():
    """Random tensors of that model, by their GGUF names."""
    rng = np.random.default_rng(5)
    hidden, ffn, kv_size = SPEC["hidden"], SPEC["ffn"], SPEC["kv_heads"] * SPEC["head_dim"]
    shapes = {"token_embd": (SPEC["vocab"], hidden), "output_norm": (hidden,)}
    for layer in range(SPEC["layers"]):
        shapes |= {
            f"blk.{layer}.attn_norm": (hidden,),
            f"blk.{layer}.attn_q": (hidden, hidden),
            f"blk.{layer}.attn_k": (kv_size, hidden),
            f"blk.{layer}.attn_v": (kv_size, hidden),
            f"blk.{layer}.attn_output": (hidden, hidden),
            f"blk.{layer}.ffn_norm": (hidden,),
            f"blk.{layer}.ffn_gate": (ffn, hidden),
            f"blk.{layer}.ffn_up": (ffn, hidden),
            f"blk.{layer}.ffn_down": (hidden, ffn),
        }
    return {f"{name}.weight": rng.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}


def safetensors_bytes(tensors, *, header=None):
    """A safetensors file of float32 tensors; `header` replaces the true one."""
    made, data = {}, b""
    for name, array in tensors.items():
        span = [len(data), len(data) + 4 * array.size]
        made[name] = {"dtype": "F32", "shape": list(array.shape), "data_offsets": span}
        data += array.astype("<f4").tobytes()
    text = json.dumps(made if header is None else header).encode()
    return struct.pack("<Q", len(text)) + text + data


HF_CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "vocab_size": SPEC["vocab"],
    "hidden_size": SPEC["hidden"],
    "intermediate_size": SPEC["ffn"],
    "num_hidden_layers": SPEC["layers"],
    "num_attention_heads": SPEC["heads"],
    "num_key_value_heads": SPEC["kv_heads"],
    "max_position_embeddings": 32,
    "rms_norm_eps": 1e-5,
    "tie_word_embeddings": True,
}
_HF_PARTS = {
    "token_embd": "embed_tokens",
    "output_norm": "norm",
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}


def hf_tensors():
    """The same tensors by their Hugging Face names."""

    def rename(name):
        part, kind = name.removeprefix("blk.").rsplit(".", 1)
        layer, _, inner = part.partition(".")
        if inner:
            return f"model.layers.{layer}.{_HF_PARTS[inner]}.{kind}"
        return f"model.{_HF_PARTS[part]}.{kind}"

    return {rename(name): array for name, array in llama_tensors().items()}


def write_directory(path, *, config=None, tensors=None):
    """A Hugging Face directory; `config` is merged into HF_CONFIG (None removes a key), or raw text."""
    path.mkdir(exist_ok=True)
    if not isinstance(config, str | bytes):
        merged = HF_CONFIG | (config or {})
        config = json.dumps({key: value for key, value in merged.items() if value is not None})
    (path / "config.json").write_bytes(config if isinstance(config, bytes) else config.encode())
    (path / "model.safetensors").write_bytes(safetensors_bytes(hf_tensors() if tensors is None else tensors))
    return path
