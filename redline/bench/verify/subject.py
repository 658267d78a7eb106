"""Subject: a model with its options, and what it answers to a few prompts with any of them changed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from redline.bench.verify.outcome import Verdict
from redline.config.engine import EngineConfig
from redline.config.sampling import SamplingParams
from redline.config.structured import StructuredOutputsParams
from redline.engine.outputs import EngineStats, RequestOutput
from redline.llm import LLM

CONTEXT = 512
NUM_PROMPTS = 10
ANSWER_TOKENS = 20
PARTIAL_CHUNK = 24  # tokens of a prompt in a step: less than most have, and no multiple of a block
SPARE_BLOCKS = 2  # beyond those of the longest prompt: so little memory that sequences give way to each other
# Nothing but the model: what is computed is computed anew, prompts are whole.
NOTHING_KEPT: dict[str, Any] = {
    "prefix_cache": False, "chunked_prefill": None, "step_time": None, "speculative": None,
    "offload_memory": None, "cache_dir": None,
}  # fmt: skip
TOPICS = ("rivers", "bridges", "engines", "letters", "winters")
SHARED = "You are a careful historian. Answer in full sentences and give the year of every event. "
AMBIGUOUS = (  # what follows a few of its words before is of several kinds
    "The cat sat on the mat. The dog sat on the rug. The cat saw the dog. The dog saw the cat. "
    "The cat ran to the rug. The dog ran to the mat. "
)
FORM = {
    "type": "object",
    "properties": {"name_of_the_place": {"type": "string", "maxLength": 12}, "year": {"type": "integer"}},
    "required": ["name_of_the_place", "year"],
    "additionalProperties": False,
}
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
        self._asked: dict[str, list[Run]] = {}
        self._verdicts: dict[str, Verdict] = {}

    @contextmanager
    def opened(self, **changes: Any) -> Iterator[LLM]:
        """The model with its options and these changes."""
        llm = LLM(self.model, **{**self.options, **changes})
        try:
            yield llm
        finally:
            llm.close()

    @property
    def keeps_blocks(self) -> bool:
        """Whether there are blocks that a later prompt could find."""
        config = EngineConfig(model=self.model, **self.options)
        return config.kv_cache and config.paged_cache

    @cached_property
    def plain(self) -> Run:
        """One prompt after the other, whole, with nothing kept: what every other run must equal."""
        with self.opened(**NOTHING_KEPT, max_batch=1) as llm:
            return ask(llm, one_by_one=True)

    @cached_property
    def little_memory(self) -> int:
        """Bytes of a K/V cache that does not hold what is asked together."""
        with self.opened() as llm:
            longest = max(len(llm.tokenizer.encode(text)) for text in prompts()) + ANSWER_TOKENS
            blocks = -(-longest // llm.config.block_size) + SPARE_BLOCKS
            return max(llm.kv_bytes // llm.stats().num_blocks * blocks, 2**20)

    def asked(self, **changes: Any) -> Run:
        """All prompts at once."""
        with self.opened(**changes) as llm:
            return ask(llm)

    def asked_twice(self, **changes: Any) -> list[Run]:
        """All prompts at once, and once more by the same engine."""
        with self.opened(**changes) as llm:
            return [ask(llm), ask(llm)]

    def asked_once(self, changes: dict[str, Any], *, twice: bool = False) -> list[Run]:
        """The same runs for every technique that these changes switch."""
        key = repr((changes, twice))
        if key not in self._asked:
            self._asked[key] = self.asked_twice(**changes) if twice else [self.asked(**changes)]
        return self._asked[key]

    def once(self, name: str, find: Callable[[], Verdict]) -> Verdict:
        """What `find` found when it was asked for first."""
        if name not in self._verdicts:
            self._verdicts[name] = find()
        return self._verdicts[name]

    def formed(self, **changes: Any) -> Run:
        """Answers that match a schema, greedy ones and drawn ones."""
        form = StructuredOutputsParams(json=FORM)
        params = [
            SamplingParams(temperature=0.9 * (seed % 2), seed=seed, max_tokens=32, logprobs=3,
                           structured_outputs=form)
            for seed in range(4)
        ]  # fmt: skip
        with self.opened(**changes) as llm:
            outputs = llm.generate(prompts()[: len(params)], params[: len(prompts())])
            return Run([_answer(output) for output in outputs], llm.stats())

    def forked(self, **changes: Any) -> tuple[Run, int]:
        """The answer to a text that could go on in several ways, and how many tokens branches gave it."""
        params = SamplingParams(temperature=0.0, max_tokens=4 * ANSWER_TOKENS, ignore_eos=True, logprobs=3)
        with self.opened(**{"trace_events": 4096, **changes}) as llm:
            run = Run([_answer(llm.generate(AMBIGUOUS, params)[0])], llm.stats())
            events = llm._engine.scheduler.trace.events()
        return run, sum(int(event.values[0]) for event in events if event.kind == "branch")


def prompts() -> list[str]:
    """Of 8 to some 250 tokens. Some share a beginning, some repeat themselves, as n-grams like it."""
    texts = []
    for index in range(NUM_PROMPTS):
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
    if not all(answer.tokens for answer in expected.answers):
        return "an answer has no tokens, so nothing can be compared"
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


def compared(expected: Run, *runs: Run, what: str) -> Verdict:
    """Whether all runs have the bits of the first; `what` says what they are."""
    for run in runs:
        found = difference(expected, run)
        if found is not None:
            return Verdict("broken", f"{what}: {found}")
    return Verdict("holds", what)
