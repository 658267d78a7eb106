"""GrammarCompiler: makes constraints from what requests ask for, and keeps what it has compiled.

A schema of a few fields takes a millisecond, one of 2,000 fields 0.4 s, and what is refused for its size was
never seen to take more than 1.1 s or 250 MiB before it was: the parser counts its work and gives up.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import TYPE_CHECKING, NamedTuple

from redline.config.structured import StructuredOutputsParams
from redline.decoding.structured.constraint import UNCONSTRAINED, Constraint
from redline.decoding.structured.grammar_constraint import BITS, GrammarConstraint, one_line
from redline.decoding.structured.grammar_text import grammar_text
from redline.decoding.structured.vocabulary import TokenBytes, Vocabulary
from redline.errors import RequestError

if TYPE_CHECKING:
    from llguidance import LLParserLimits

MAX_GRAMMARS = 64  # that are kept; the least recently used goes
MAX_SOURCE_BYTES = 2**20  # of all of them: what is compiled takes some 500 times that at most
MAX_LEXER_STATES = 50_000  # of one grammar, 1 to 2 KiB each, made as answers need them
STEP_FUEL = 100_000  # of the lexer for one mask: some 7 ms
STEP_ITEMS = 50_000  # of the parser for one mask: some 3 ms


class _Key(NamedTuple):
    form: str
    source: str
    whitespace_pattern: str | None


class GrammarCompiler:
    """For one vocabulary. Safe to use from several threads; the caller's compiles what is not cached."""

    def __init__(self, tokenizer: TokenBytes, vocab_size: int) -> None:
        self._vocabulary = Vocabulary(tokenizer, vocab_size)
        self._lock = threading.Lock()
        self._grammars: OrderedDict[_Key, GrammarConstraint] = OrderedDict()
        self._source_bytes = 0
        self.num_compiled = 0

    def constraint(self, params: StructuredOutputsParams | None) -> Constraint:
        """At the beginning of an answer. Raises RequestError when nothing matches, or it is too complex."""
        if params is None:
            return UNCONSTRAINED
        key = _Key(params.form, params.source, params.whitespace_pattern)
        with self._lock:
            start = self._grammars.get(key)
            if start is not None:
                self._grammars.move_to_end(key)
        if start is None:
            start = self._compile(params, key)
            self._keep(key, start)
        return start.copy()

    def _compile(self, params: StructuredOutputsParams, key: _Key) -> GrammarConstraint:
        from llguidance import LLMatcher

        param = f"structured_outputs.{params.form}"
        with self._lock:  # made once
            tokens = self._vocabulary.parser_tokens
        try:
            text = grammar_text(params, self._vocabulary)
        except ValueError as error:
            raise _refused(param, str(error)) from None
        matcher = LLMatcher(tokens, text, log_level=0, limits=_limits())
        self.num_compiled += 1
        if matcher.is_error():
            raise _refused(param, matcher.get_error())
        start = GrammarConstraint(
            matcher, -(-self._vocabulary.size // BITS), param, lambda: self._forget(key)
        )
        problem = _problem(start)
        if problem is not None:
            raise _refused(param, problem)
        return start

    def _keep(self, key: _Key, start: GrammarConstraint) -> None:
        with self._lock:
            if key not in self._grammars:
                self._source_bytes += len(key.source)
            self._grammars[key] = start
            while len(self._grammars) > MAX_GRAMMARS or self._source_bytes > MAX_SOURCE_BYTES:
                oldest, _ = self._grammars.popitem(last=False)
                self._source_bytes -= len(oldest.source)

    def _forget(self, key: _Key) -> None:
        with self._lock:
            if self._grammars.pop(key, None) is not None:
                self._source_bytes -= len(key.source)


def _limits() -> LLParserLimits:
    from llguidance import LLParserLimits

    return LLParserLimits(
        max_lexer_states=MAX_LEXER_STATES,
        step_lexer_fuel=STEP_FUEL,
        step_max_items=STEP_ITEMS,
        verbose_errors=False,  # what the parser knows may be another's text
    )


def _problem(start: GrammarConstraint) -> str | None:
    """What the first mask shows, which is the dearest, and the next, if a text that is forced has no end."""
    probe = start.copy()
    probe.compute(())
    for token_id in probe.forced()[:1]:
        probe.push(token_id)
        if not probe.ended:
            probe.compute(())
    return "no text matches it" if "NoExtension" in probe.error else probe.error or None


def _refused(param: str, why: str) -> RequestError:
    return RequestError(f"{param} cannot be used: {one_line(why)}", param=param)
