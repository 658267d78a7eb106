"""Random blocks of every GGUF type."""

import gguf
import numpy as np

# Where the float16 scales of a block lie.
HALVES = {"Q2_K": (80, 82), "Q3_K": (108,), "Q6_K": (208,), "TQ1_0": (52,), "MXFP4": ()}
HALVES |= {name: (0, 2) for name in ("Q4_1", "Q5_1", "Q4_K", "Q5_K")}


def random_blocks(rng, name, num_outputs, num_inputs):
    """Random bits, but for sane scales; floats are random normal numbers."""
    kind = gguf.GGMLQuantizationType[name]
    weights, num_bytes = gguf.GGML_QUANT_SIZES[kind]
    if name in ("F32", "F16", "BF16"):
        values = rng.standard_normal((num_outputs, num_inputs)).astype(np.float32)
        return gguf.quants.quantize(values, kind).view(np.uint8).reshape(-1)
    blocks = rng.integers(0, 256, (num_outputs * num_inputs // weights, num_bytes), dtype=np.uint8)
    for at in HALVES.get(name, (0,)):
        scales = rng.uniform(-0.1, 0.1, len(blocks)).astype(np.float16)
        blocks[:, at : at + 2] = scales[:, None].view(np.uint8)
    if name == "MXFP4":
        blocks[:, 0] = rng.integers(115, 125, len(blocks))
    return blocks.reshape(-1)
