"""redline chat: a conversation in the terminal, streamed, with history."""

from __future__ import annotations

import argparse
import contextlib
import signal
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from redline.cli.engine_flags import add_engine_flags
from redline.cli.generate import stats_line
from redline.cli.loading import open_llm
from redline.cli.sampling_flags import add_sampling_flags, sampling_params
from redline.cli.terminal import printable
from redline.errors import ContextLengthError, RedlineError, RequestError

if TYPE_CHECKING:
    from redline.config.sampling import SamplingParams
    from redline.engine.outputs import RequestMetrics
    from redline.llm import LLM

MAX_TOKENS = 1024
HELP = """\
/help     this list
/reset    forget the conversation; the system prompt stays
/exit     leave; so does Ctrl-D
Ctrl-C    stop the answer that is being written
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--system", metavar="TEXT", help="system prompt")
    parser.add_argument("--stats", action="store_true", help="print timings to stderr after each answer")
    add_sampling_flags(parser, max_tokens=MAX_TOKENS, temperature=0.2, top_p=0.9)
    add_engine_flags(parser)


def run(args: argparse.Namespace) -> int:
    params = sampling_params(args)
    llm = open_llm(args, max_batch=1)
    if llm.chat_template is None:
        raise RequestError(f"{args.model} has no chat template; use: redline generate --raw", param="model")
    conversation = Conversation(llm, params, args.system)
    interactive = sys.stdin.isatty()
    if interactive:
        with contextlib.suppress(ImportError):
            import readline  # noqa: F401  importing it gives input() line editing and history
        sys.stdout.write(f"{args.model}. /help lists the commands.\n")
    for line in _lines("> " if interactive else ""):
        if line in ("/exit", "/quit"):
            break
        _turn(conversation, line, stats=args.stats)
    return 0


class Conversation:
    """The messages so far, and the model that answers them."""

    def __init__(self, llm: LLM, params: SamplingParams, system: str | None) -> None:
        self._llm = llm
        self._params = params
        self._system = [] if system is None else [{"role": "system", "content": system}]
        self.messages: list[dict[str, Any]] = []  # without the system prompt

    def reset(self) -> None:
        """Forget everything but the system prompt."""
        self.messages.clear()

    def ask(self, text: str) -> tuple[RequestMetrics | None, int]:
        """Write the answer to `text` to stdout and remember both.

        The oldest exchanges are dropped when the context is full. Returns the metrics, None when the
        answer was interrupted, and the number of messages that were dropped.
        """
        self.messages.append({"role": "user", "content": text})
        dropped = 0
        while True:
            try:
                return self._answer(), dropped
            except ContextLengthError:
                if len(self.messages) < 3:
                    self.messages.pop()
                    raise
                del self.messages[:2]
                dropped += 2
            except RedlineError:
                self.messages.pop()
                raise

    def _answer(self) -> RequestMetrics | None:
        text, metrics = "", None
        stream = self._llm.stream([*self._system, *self.messages], self._params)
        with _interruptible() as interrupted, contextlib.closing(stream):
            for delta in stream:
                text += delta.text
                sys.stdout.write(printable(delta.text))
                sys.stdout.flush()
                metrics = delta.metrics
                if interrupted:
                    break
        sys.stdout.write("\n")
        self.messages.append({"role": "assistant", "content": text})
        return metrics


def _turn(conversation: Conversation, line: str, *, stats: bool) -> None:
    if not line:
        return
    if line == "/help":
        sys.stdout.write(HELP)
    elif line == "/reset":
        conversation.reset()
    elif line.startswith("/"):
        sys.stdout.write(f"unknown command {line.split()[0]}; /help lists the commands\n")
    else:
        _ask(conversation, line, stats=stats)


def _ask(conversation: Conversation, line: str, *, stats: bool) -> None:
    """One question. What is wrong with it is said, and the conversation goes on."""
    try:
        metrics, dropped = conversation.ask(line)
    except RequestError as error:
        sys.stderr.write(f"redline: error: {error}\n")
        return
    if dropped:
        sys.stderr.write(f"(the context is full: the oldest {dropped} messages were dropped)\n")
    if stats and metrics is not None:
        sys.stderr.write(stats_line(metrics) + "\n")


def _lines(prompt: str) -> Iterator[str]:
    """Lines of input until it ends; Ctrl-C on an empty line starts a new one."""
    while True:
        try:
            yield input(prompt).strip()
        except EOFError:
            if prompt:
                sys.stdout.write("\n")
            return
        except UnicodeDecodeError as error:
            raise RequestError(f"standard input is not valid UTF-8 at byte {error.start}") from None
        except KeyboardInterrupt:
            sys.stdout.write("\n")


@contextlib.contextmanager
def _interruptible() -> Iterator[list[bool]]:
    """A list that is empty until Ctrl-C. A second Ctrl-C ends the program.

    The first one must not raise: it could strike in the middle of an engine step.
    """
    interrupted: list[bool] = []

    def note(_signal: int, _frame: object) -> None:
        if interrupted:
            raise KeyboardInterrupt
        interrupted.append(True)

    before = signal.signal(signal.SIGINT, note)
    try:
        yield interrupted
    finally:
        signal.signal(signal.SIGINT, before)
