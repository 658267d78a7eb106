"""The named workloads. Each draws its lengths from the seed, and its text from the seed and the repeat."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field

from redline.bench.workloads.text import Cut, Encoder, Pages, code, cut_by, prose
from redline.bench.workloads.workload import Message, Request, Session, Workload
from redline.errors import ConfigError

SUMMARIES = {
    "chat": "short questions, up to two earlier exchanges, answers of about 128 tokens",
    "summarise": "articles of about 800 tokens, summaries of about 96",
    "code": "sources of about 400 tokens to be continued by about 128",
    "shared-prefix": "one beginning of 1024 tokens for all, questions of about 40, answers of about 48",
    "agent": "loops of six turns whose context grows from about 400 to 1600 tokens, answers of about 48",
    "long-document": "documents of about 4000 tokens, answers of about 64",
    "mix": "heavy-tailed: a median of 160 tokens in and 80 out, one prompt in eight four times as long",
}
NAMES = tuple(SUMMARIES)
NUM_SESSIONS = {"agent": 8, "long-document": 8}
DEFAULT_SESSIONS = 64
TURNS = 6  # of an agent
CUT_OFF = 10  # times the median that a length reaches at most
LEAST_INPUT, LEAST_OUTPUT = 4, 2  # tokens; an answer of one token has no time per token
PAGES = {"chat": 3, "agent": TURNS + 2}  # of a session at most; the others take one
MARGIN = 64  # tokens that a chat template and the words between texts may add
AGENT_MARGIN = 160  # and those of an agent's thirteen messages
LEAST_CONTEXT = 512


@dataclass
class _Writer:
    """Draws lengths and text."""

    cut: Cut
    seed: int
    repeat: int
    scale: float
    max_tokens: int | None
    pages: int  # of all sessions of a repeat
    shared: str = ""
    lengths: random.Random = field(init=False)
    prose: Pages = field(init=False)
    code: Pages = field(init=False)

    def __post_init__(self) -> None:
        # Each repeat turns to pages that those before it have left.
        skip = (self.repeat + 1) * self.pages  # a warm-up is repeat -1
        self.lengths = random.Random(f"lengths/{self.seed}")
        self.prose = Pages(*prose(), self.cut, f"prose/{self.seed}", skip)
        self.code = Pages(*code(), self.cut, f"code/{self.seed}", skip)

    def length(self, median: float, spread: float = 0.3) -> int:
        """Log-normal tokens around a median."""
        drawn = median * self.lengths.lognormvariate(0.0, spread)
        return round(self.scale * min(CUT_OFF * median, drawn))

    def request(self, messages: list[Message], output_tokens: int) -> Request:
        """The answer gets at most a quarter of `max_tokens`."""
        output_tokens = max(LEAST_OUTPUT, output_tokens)
        if self.max_tokens is not None:
            output_tokens = min(output_tokens, self.max_tokens // 4)
        return Request(tuple(messages), output_tokens)

    def input(self, tokens: int) -> int:
        """Tokens of a text, within what the context holds beside the longest answer."""
        most = tokens if self.max_tokens is None else self.max_tokens * 3 // 4 - MARGIN
        return max(LEAST_INPUT, min(tokens, most))


def build(
    name: str,
    encoder: Encoder | None = None,
    seed: int = 0,
    *,
    num_requests: int | None = None,
    repeat: int = 0,
    scale: float = 1.0,
    max_tokens: int | None = None,
) -> Workload:
    """The workload `name` of at least `num_requests` requests, in whole sessions.

    `encoder`: a tokenizer, by which texts have the lengths they shall have; without one four characters
    count as a token. `repeat`: other texts of the same lengths. `scale` multiplies all lengths. `max_tokens`:
    of a prompt and its answer together, which longer ones are cut to; a quarter of it is the answer's.
    Raises ConfigError.
    """
    _check(name, num_requests, scale, max_tokens)
    turns = TURNS if name == "agent" else 1
    wanted = NUM_SESSIONS.get(name, DEFAULT_SESSIONS) if num_requests is None else -(-num_requests // turns)
    pages = wanted * PAGES.get(name, 1) + 1
    writer = _Writer(cut_by(encoder), seed, repeat, scale, max_tokens, pages)
    if name == "shared-prefix":
        writer.shared = writer.prose.next(writer.input(round(1280 * scale)) * 4 // 5)
    sessions = tuple(_SESSIONS[name](writer) for _ in range(wanted))
    return Workload(name, SUMMARIES[name], sessions)


def _check(name: str, num_requests: int | None, scale: float, max_tokens: int | None) -> None:
    if name not in SUMMARIES:
        raise ConfigError(f"workload is {name!r}; the workloads are {', '.join(NAMES)}")
    if num_requests is not None and num_requests < 1:
        raise ConfigError(f"requests is {num_requests}; it must be at least 1")
    if not 0 < scale < float("inf"):
        raise ConfigError(f"scale is {scale}; it must be above 0")
    if max_tokens is not None and max_tokens < LEAST_CONTEXT:
        raise ConfigError(f"max_tokens is {max_tokens}; workloads need a context of at least {LEAST_CONTEXT}")


def _said(role: str, content: str) -> Message:
    return {"role": role, "content": content}


def _chat(writer: _Writer) -> Session:
    """A page in what was said before stands for an earlier answer."""
    exchanges = writer.lengths.choice((0, 0, 1, 2))
    messages = []
    for _ in range(exchanges):
        page = writer.prose.next(writer.input(6 * writer.length(36)) // 6)
        messages += [_said("user", f"What does this mean? {page[:80]}"), _said("assistant", page)]
    question = writer.prose.next(writer.input(2 * writer.length(40, 0.6)) // 2)
    messages.append(_said("user", f"Explain this to me in simple words: {question}"))
    return (writer.request(messages, writer.length(128, 0.6)),)


def _summarise(writer: _Writer) -> Session:
    text = writer.prose.next(writer.input(writer.length(800)))
    messages = [_said("user", f"{text}\n\nSummarise the text above in a few sentences.")]
    return (writer.request(messages, writer.length(96)),)


def _code(writer: _Writer) -> Session:
    text = writer.code.next(writer.input(writer.length(400, 0.6)))
    return (writer.request([_said("user", f"Continue this Python code:\n\n{text}")], writer.length(128)),)


def _shared_prefix(writer: _Writer) -> Session:
    question = writer.prose.next(writer.input(5 * writer.length(40)) // 5)
    messages = [_said("system", writer.shared), _said("user", f"How does this relate to it? {question}")]
    return (writer.request(messages, writer.length(48)),)


def _agent(writer: _Writer) -> Session:
    """Tools described once, then calls and their results. The calls are given, so that every engine and run
    goes through the same contexts; only the prompts' own tokens can be found in a cache."""
    room = max(16 * LEAST_INPUT, writer.input(round(1600 * writer.scale)) - AGENT_MARGIN)
    tools = writer.prose.next(room // 4)
    messages = [_said("system", f"You repair programs. Your tools are described here.\n\n{tools}")]
    messages.append(_said("user", f"Find the fault.\n\n{writer.code.next(room // 16)}"))
    turns = []
    for turn in range(TURNS):
        turns.append(writer.request(list(messages), writer.length(48)))
        result = writer.code.next(room // 8)
        messages.append(_said("assistant", f'read_file("module_{turn}.py")'))
        messages.append(_said("user", f"module_{turn}.py:\n\n{result}"))
    return tuple(turns)


def _long_document(writer: _Writer) -> Session:
    text = writer.prose.next(writer.input(writer.length(4000, 0.2)))
    messages = [_said("user", f"{text}\n\nWhich part of the text above matters most to a beginner, and why?")]
    return (writer.request(messages, writer.length(64)),)


def _mix(writer: _Writer) -> Session:
    pages = writer.lengths.choice((writer.prose, writer.code))
    text = pages.next(writer.input(writer.length(160, 1.2)))
    messages = [_said("user", f"{text}\n\nWhat is this about?")]
    return (writer.request(messages, writer.length(80, 0.8)),)


_SESSIONS: dict[str, Callable[[_Writer], Session]] = {
    "chat": _chat,
    "summarise": _summarise,
    "code": _code,
    "shared-prefix": _shared_prefix,
    "agent": _agent,
    "long-document": _long_document,
    "mix": _mix,
}
