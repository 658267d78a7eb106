"""Mooncake's traces (kvcache-ai/Mooncake, Apache-2.0): JSON lines; hash_ids name 512-token parts of prompts.

Requests whose lists begin alike have prompts that begin alike (Mooncake, arXiv 2407.00079).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from redline.bench.traces.traced import BadLine, Traced, checked

BLOCK_TOKENS = 512


def read(lines: Iterator[str]) -> Iterator[Traced | BadLine]:
    """One request a line."""
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            yield _traced(json.loads(line.strip()))
        except json.JSONDecodeError as error:  # its own words count lines from this one
            yield BadLine(number, f"{error.msg} at column {error.colno}")
        except KeyError as error:
            yield BadLine(number, f"no {error.args[0]}")
        except (ValueError, TypeError, OverflowError, RecursionError) as error:
            yield BadLine(number, " ".join(str(error).split())[:80])


def _traced(said: Any) -> Traced:
    if not isinstance(said, dict):
        raise TypeError("not an object")
    numbers = [said[name] for name in ("timestamp", "input_length", "output_length")]
    blocks = said["hash_ids"]
    if not isinstance(blocks, list) or not all(type(block) is int for block in blocks):
        raise TypeError("hash_ids is no list of integers")
    if not all(type(number) in (int, float) for number in numbers):
        raise TypeError("timestamp, input_length and output_length must be numbers")
    if len(blocks) * BLOCK_TOKENS < numbers[1]:
        raise ValueError(f"{len(blocks)} blocks of {BLOCK_TOKENS} for {numbers[1]} tokens")
    return checked(numbers[0] / 1e3, int(numbers[1]), int(numbers[2]), tuple(blocks))
