"""The work that techniques are measured on: real text, the same for the same name, size and repeat.

Each load is one on which the literature states its claim: a context of a thousand tokens for the K/V cache,
answers of very different length for continuous batching, questions that share a beginning for prefix reuse.
What no engine without a K/V cache ends in reasonable time has a small size as well.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from redline.bench.workloads.text import Pages, cut_by, prose
from redline.config.sampling import SamplingParams
from redline.config.structured import StructuredOutputsParams
from redline.models.tokenizer import Tokenizer

# decode: tokens a second of one answer after its first. rate: of all answers, prompts included.
# prefill: prompt tokens a second. gap: milliseconds, the longest between two tokens of an answer.
Measure = Literal["decode", "rate", "prefill", "gap"]
UNITS: dict[Measure, str] = {"decode": "tok/s", "rate": "tok/s", "prefill": "tok/s", "gap": "ms"}
SPARE_TOKENS = 16  # that a cut page may be short of when it is cut into tokens again
SHORTEST_TAIL = 2  # tokens of the shortest answer
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "person": {"type": "object", "properties": {"first_name": {"enum": ["Ada", "Alan"]}},
                   "required": ["first_name"]},
        "profession": {"enum": ["mathematician", "programmer"]},
        "year_of_birth": {"type": "integer", "minimum": 1000, "maximum": 2000},
    },
    "required": ["person", "profession", "year_of_birth"],
    "additionalProperties": False,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Ask:
    """One request."""

    prompt: list[int]
    params: SamplingParams


@dataclass(frozen=True, kw_only=True)
class Load:
    """Requests of one shape. Lengths are in tokens."""

    name: str
    summary: str
    measure: Measure
    num_requests: int = 1
    prompt_tokens: int
    output_tokens: int  # with `spread`: the median
    shared_tokens: int = 0  # that all prompts begin with
    spread: float = 0.0  # of log-normal answers
    most_output: int = 0  # of these
    copies: bool = False  # the prompt has its text twice, and begins it once more
    has_schema: bool = False
    late_prompt_tokens: int = 0  # of one more prompt, which comes when the first answer is under way
    options: dict[str, Any] = field(default_factory=dict)  # of the engine
    small: dict[str, Any] = field(default_factory=dict)  # what is different in the small size

    @property
    def unit(self) -> str:
        """Of what it measures."""
        return UNITS[self.measure]

    def sized(self, *, small: bool) -> Load:
        """Itself, or its small size."""
        return replace(self, **self.small) if small else self

    def asks(self, tokenizer: Tokenizer, repeat: int) -> list[Ask]:
        """The requests of one run; those of two repeats have other texts and the same lengths."""
        wanted = (self.num_requests + 2) * repeat
        pages = _TokenPages(tokenizer, Pages(*prose(), cut_by(tokenizer), self.name, skip=wanted))
        lengths = random.Random(self.name)
        shared = pages.next(self.shared_tokens)
        asks = []
        for _ in range(self.num_requests):
            own = pages.next(self.prompt_tokens)
            if self.copies:
                own = own + own + own[: len(own) // 8]
            asks.append(Ask(shared + own, self._params(self._length(lengths))))
        if self.late_prompt_tokens:
            asks.append(Ask(pages.next(self.late_prompt_tokens), self._params(1)))
        return asks

    def _length(self, lengths: random.Random) -> int:
        if not self.spread:
            return self.output_tokens
        drawn = round(self.output_tokens * lengths.lognormvariate(0.0, self.spread))
        return max(SHORTEST_TAIL, min(self.most_output, drawn))

    def _params(self, max_tokens: int) -> SamplingParams:
        structured = StructuredOutputsParams(json=SCHEMA) if self.has_schema else None
        ignore_eos = structured is None
        return SamplingParams(
            temperature=0.0, max_tokens=max_tokens, ignore_eos=ignore_eos, structured_outputs=structured
        )


class _TokenPages:
    """Pages of exact numbers of tokens."""

    def __init__(self, tokenizer: Tokenizer, pages: Pages) -> None:
        self._tokenizer = tokenizer
        self._pages = pages

    def next(self, tokens: int) -> list[int]:
        if not tokens:
            return []
        ids: list[int] = []
        while len(ids) < tokens:
            page = self._pages.next(tokens - len(ids) + SPARE_TOKENS)
            ids += self._tokenizer.encode(page, False)
        return ids[:tokens]


LOADS = {
    load.name: load
    for load in (
        Load(
            name="decode-1k",
            summary="one answer of 24 tokens behind a context of 1,000",
            measure="decode",
            prompt_tokens=1000,
            output_tokens=24,
            options={"max_context": 1536, "kv_memory": "256MiB"},
            small={"prompt_tokens": 96, "output_tokens": 4},
        ),
        Load(
            name="decode",
            summary="one answer of 64 tokens behind 128",
            measure="decode",
            prompt_tokens=128,
            output_tokens=64,
            options={"max_context": 1024, "kv_memory": "256MiB"},
            small={"prompt_tokens": 48, "output_tokens": 4},
        ),
        Load(
            name="prefill-2k",
            summary="one prompt of 2,000 tokens",
            measure="prefill",
            prompt_tokens=2000,
            output_tokens=1,
            options={"max_context": 2048, "kv_memory": "256MiB"},
            small={"prompt_tokens": 192},
        ),
        Load(
            name="heavy-tail",
            summary="320 prompts of 48 tokens, answers of 2 to 1,000 (log-normal, median 24), 16 at once",
            measure="rate",
            num_requests=320,  # with fewer, the last answers of all decide, however they are batched
            prompt_tokens=48,
            output_tokens=24,
            spread=1.8,
            most_output=1000,
            options={"max_context": 1536, "max_batch": 16, "kv_memory": "512MiB"},
            small={
                "num_requests": 6,
                "prompt_tokens": 16,
                "output_tokens": 4,
                "most_output": 16,
                "options": {"max_context": 512, "max_batch": 3, "kv_memory": "512MiB"},
            },
        ),
        Load(
            name="shared-prefix",
            summary="32 questions of 24 tokens on the same 1,000, answers of 4",
            measure="rate",
            num_requests=32,
            prompt_tokens=24,
            shared_tokens=1000,
            output_tokens=4,
            options={"max_context": 1536, "max_batch": 32, "kv_memory": "1GiB"},
            small={"num_requests": 4, "prompt_tokens": 8, "shared_tokens": 96, "output_tokens": 2},
        ),
        Load(
            name="many-short",
            summary="48 prompts of 96 tokens, answers of 48, in 192 MiB of K/V cache, contexts up to 2,048",
            measure="rate",
            num_requests=48,
            prompt_tokens=96,
            output_tokens=48,
            options={"max_context": 2048, "kv_memory": "192MiB"},
            small={
                "num_requests": 6,
                "prompt_tokens": 16,
                "output_tokens": 6,
                "options": {"max_context": 512, "kv_memory": "48MiB"},
            },
        ),
        Load(
            name="stall",
            summary="one answer of 48 tokens, while a prompt of 1,500 arrives",
            measure="gap",
            prompt_tokens=16,
            output_tokens=48,
            late_prompt_tokens=1500,
            options={"max_context": 2048, "kv_memory": "256MiB"},
            small={"output_tokens": 6, "late_prompt_tokens": 128},
        ),
        Load(
            name="copy",
            summary="one answer of 64 tokens that repeats a text of 160 in its prompt",
            measure="decode",
            prompt_tokens=160,
            output_tokens=64,
            copies=True,
            options={"max_context": 1024, "kv_memory": "256MiB"},
            small={"prompt_tokens": 40, "output_tokens": 8},
        ),
        Load(
            name="schema",
            summary="4 answers within a JSON schema of three properties",
            measure="rate",
            num_requests=4,
            prompt_tokens=32,
            output_tokens=96,
            has_schema=True,
            options={"max_context": 512, "max_batch": 4, "kv_memory": "256MiB"},
            small={"num_requests": 1, "prompt_tokens": 16, "output_tokens": 8},
        ),
        Load(
            name="long-batch",
            summary="8 answers of 24 tokens behind 1,000 each",
            measure="decode",
            num_requests=8,
            prompt_tokens=1000,
            output_tokens=24,
            options={"max_context": 1536, "max_batch": 8, "kv_memory": "512MiB"},
            small={"num_requests": 2, "prompt_tokens": 48, "output_tokens": 4},
        ),
    )
}
