"""Subject: a model with its options, and what it answers to a few prompts with any of them changed."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from redline.config.sampling import SamplingParams
from redline.engine.outputs import EngineStats, RequestOutput
from redline.llm import LLM

CONTEXT = 512
ANSWER_TOKENS = 20
TOPICS = ("rivers", "bridges", "engines", "letters", "winters")
SHARED = "You are a careful historian. Answer in full sentences and give the year of every event. "
# The bits of the logits, not only their order; every other request draws its tokens.
GREEDY = SamplingParams(temperature=0.0, max_tokens=ANSWER_TOKENS, ignore_eos=True, logprobs=3)


def drawn(seed: int) -> SamplingParams:
    """Sampled, reproducible by its seed."""
    return SamplingParams(
        temperature=0.9, top_p=0.95, seed=seed, max_tokens=ANSWER_TOKENS, ignore_eos=True, logprobs=3
    )


@dataclass(frozen=True, slots=True)
class Answer:
    """Tokens, and with each its log-probability and those of the best three."""

    tokens: list[int]
    logprobs: list[tuple[float, tuple[tuple[int, float], ...]]]
    num_cached: int


@dataclass(frozen=True, slots=True)
class Run:
    """Answers to all prompts, in their order, and what the engine counted."""

    answers: list[Answer]
    stats: EngineStats


class Subject:
    """Opens the model anew for each question; nothing of an earlier one is left."""

    def __init__(self, model: str, options: dict[str, Any]) -> None:
        self.model = model
        self.options = {"max_context": CONTEXT, **options}
        self._asked: dict[tuple[str, Any], Run] = {}

    def open(self, **changes: Any) -> LLM:
        """The model with its options and these changes."""
        return LLM(self.model, **{**self.options, **changes})

    @cached_property
    def plain(self) -> Run:
        """One prompt after the other, whole, with nothing kept: what every other run must equal."""
        changes = {"prefix_cache": False, "chunked_prefill": None, "step_time": None, "speculative": None}
        llm = self.open(**changes, offload_memory=None, cache_dir=None, max_batch=1)
        return ask(llm, one_by_one=True)

    def asked(self, **changes: Any) -> Run:
        """All prompts at once."""
        llm = self.open(**changes)
        try:
            return ask(llm)
        finally:
            llm.close()

    def asked_once(self, name: str, value: Any) -> Run:
        """With one option changed: the same run for every technique that it switches."""
        key = (name, repr(value))  # some are dictionaries
        if key not in self._asked:
            self._asked[key] = self.asked(**{name: value})
        return self._asked[key]


def prompts() -> list[str]:
    """Of 8 to some 250 tokens. Some share a beginning, some repeat themselves, as n-grams like it."""
    texts = []
    for index in range(10):
        topic = TOPICS[index % len(TOPICS)]
        text = f"Write chapter {index} about {topic}. " + f"It mentions {topic} again. " * (7 * index % 37)
        texts.append((SHARED if index % 2 else "") + text)
    return texts


def ask(llm: LLM, *, one_by_one: bool = False) -> Run:
    """Every other prompt is answered greedily, the rest drawn by a seed of their own."""
    texts = prompts()
    params = [drawn(seed=1000 + index) if index % 2 else GREEDY for index in range(len(texts))]
    if one_by_one:
        outputs = [llm.generate(text, each)[0] for text, each in zip(texts, params, strict=True)]
    else:
        outputs = llm.generate(texts, params)
    return Run([_answer(output) for output in outputs], llm.stats())


def _answer(output: RequestOutput) -> Answer:
    [choice] = output.choices
    logprobs = [(each.logprob, tuple(each.top)) for each in choice.logprobs or []]
    return Answer(choice.token_ids, logprobs, output.metrics.num_cached_tokens)


def difference(expected: Run, got: Run) -> str | None:
    """Where two runs part for the first time; None: they have the same bits."""
    for number, (one, other) in enumerate(zip(expected.answers, got.answers, strict=True)):
        for place, (token, its) in enumerate(zip(one.tokens, one.logprobs, strict=True)):
            if place >= len(other.tokens) or other.tokens[place] != token:
                now = other.tokens[place] if place < len(other.tokens) else "nothing"
                return f"prompt {number}, token {place}: {token} became {now}"
            if other.logprobs[place] != its:
                change = other.logprobs[place][0] - its[0]
                return f"prompt {number}, token {place}: its log-probability moved by {change:.3g}"
        if len(other.tokens) != len(one.tokens):
            return f"prompt {number}: {len(one.tokens)} tokens became {len(other.tokens)}"
    return None
