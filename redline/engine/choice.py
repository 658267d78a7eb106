"""One choice of a request: its sequence, its text so far, and the rules that end it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence as Many

from redline.core.sequence import Sequence
from redline.decoding.detokenize import Detokenizer
from redline.decoding.sampler import Sampled, SampleRow, TokenLogprob
from redline.decoding.steps.build import NO_STEPS, RowSteps, Steps, build_steps
from redline.decoding.steps.step import TokensBefore
from redline.decoding.stop import StopStrings
from redline.decoding.structured.constraint import UNCONSTRAINED, Allowed, Constraint
from redline.engine.outputs import Delta, FinishReason
from redline.models.tokenizer import Tokenizer


class ChoiceState:
    """Grows by one token at a time; `finish_reason` is set by the token that ends it.

    `steps`: of its sampling, None: as its parameters say.
    """

    def __init__(
        self,
        index: int,
        seq: Sequence,
        tokenizer: Tokenizer,
        seed: int,
        steps: Steps | None = None,
        constraint: Constraint = UNCONSTRAINED,
    ) -> None:
        params = seq.params
        self.constraint = constraint
        self.index = index
        self.seq = seq
        self.finish_reason: FinishReason | None = None
        self.stop_reason: str | int | None = None
        self.token_times: list[float] = []
        self.ended_s: float | None = None  # when it ended without a token
        self.num_draft_tokens = self.num_accepted_tokens = 0
        self.steps = build_steps(params, tokenizer) if steps is None else steps
        self._mu = 2 * params.mirostat_tau
        self._seed = seed
        self._eos = frozenset() if params.ignore_eos else tokenizer.eos_token_ids
        # Kept from token to token: a repetition penalty looks at the whole prompt.
        self._counts: Counter[int] = Counter()
        if params.repetition_penalty != 1.0:
            self._counts.update(dict.fromkeys(seq.prompt_token_ids, 0))
        self._detokenizer = Detokenizer(
            tokenizer,
            skip_special_tokens=params.skip_special_tokens,
            keep=[
                token_id
                for token in params.keep_special_tokens
                if (token_id := tokenizer.token_to_id(token)) is not None
            ],
        )
        self._stops = StopStrings(params.stop, include=params.include_stop_str_in_output)

    def sample_rows(self, drafts: Many[int] = ()) -> list[SampleRow]:
        """What the sampler needs to draw this choice's next token, and the one behind each of the drafts."""
        counts = self._counts
        allowed = self.constraint.allowed(drafts)
        rows = [self._sample_row(len(self.token_times), counts, (), allowed[0])]
        for place, token_id in enumerate(drafts, len(self.token_times) + 1):
            if self.seq.params.penalises:
                counts = counts.copy()
                counts[token_id] += 1
            before = tuple(drafts[: len(rows)])
            rows.append(self._sample_row(place, counts, before, allowed[len(rows)]))
        return rows

    def _sample_row(
        self, position: int, counts: Counter[int], drafts: tuple[int, ...], allowed: Allowed
    ) -> SampleRow:
        params = self.seq.params
        forbidden = None
        if position < params.min_tokens:
            forbidden = self._eos | frozenset(params.stop_token_ids)
        return SampleRow(
            params=params,
            seed=self._seed,
            stream=self.index,
            position=position,
            counts=counts,
            forbidden=forbidden,
            steps=None if self.steps is NO_STEPS else self._row_steps(drafts),
            allowed=allowed,
        )

    def _row_steps(self, drafts: tuple[int, ...]) -> RowSteps:
        before = TokensBefore(self.seq.prompt_token_ids, self.seq.output_token_ids, drafts)
        return RowSteps(self.steps, before, self._mu, follows=bool(drafts))

    def push(self, request_id: str, sampled: Sampled, now_s: float) -> Delta:
        """Take the next token; decides whether the choice ends with it."""
        token_id = sampled.token_id
        self.token_times.append(now_s)
        self._counts[token_id] += 1
        self._mu = sampled.mu
        stopped = self._stops_at(token_id)
        text = ""
        if not stopped or (self.seq.params.include_stop_str_in_output and token_id not in self._eos):
            text = self._detokenizer.push(token_id)
        text = self._scan(text)
        if self.finish_reason is None:
            self._advance(token_id)
        if self.finish_reason is not None:
            text += self._rest()
        logprobs: list[TokenLogprob] | None = [sampled.logprob] if sampled.logprob is not None else None
        return Delta(
            request_id=request_id,
            index=self.index,
            text=text,
            token_ids=[token_id],
            logprobs=logprobs,
            finish_reason=self.finish_reason,
            stop_reason=self.stop_reason,
            time_s=now_s,
        )

    def _advance(self, token_id: int) -> None:
        """Nothing has stopped the choice at this token; end it where nothing can follow or nothing fits."""
        self.constraint.push(token_id)
        if self.constraint.ended:
            self.finish_reason = "stop"
        elif self._full():
            self.finish_reason = "length"

    def end_without_tokens(self, request_id: str, now_s: float) -> Delta:
        """End with the prompt, as max_tokens 0 asks for."""
        self.ended_s, self.finish_reason = now_s, "length"
        return Delta(request_id=request_id, index=self.index, finish_reason=self.finish_reason)

    def _stops_at(self, token_id: int) -> bool:
        """End on end-of-sequence and stop tokens, once min_tokens are there."""
        params = self.seq.params
        if len(self.token_times) < params.min_tokens:
            return False
        if token_id in params.stop_token_ids:
            self.finish_reason, self.stop_reason = "stop", token_id
        elif token_id in self._eos:
            self.finish_reason = "stop"
        return self.finish_reason is not None

    def _scan(self, text: str) -> str:
        """Text that can no longer become part of a stop string; ends the choice on a match."""
        if len(self.token_times) < self.seq.params.min_tokens:
            return text
        safe, matched = self._stops.push(text)
        if matched is not None:
            self.finish_reason, self.stop_reason = "stop", matched
        return safe

    def _rest(self) -> str:
        """What detokeniser and stop scan still hold back; nothing after a stop string."""
        if isinstance(self.stop_reason, str):
            return ""
        safe, matched = self._stops.push(self._detokenizer.flush())
        if matched is not None:
            self.finish_reason, self.stop_reason = "stop", matched
            return safe
        return safe + self._stops.flush()

    def _full(self) -> bool:
        """At max_tokens, or at the end of the context or of the K/V memory, whichever comes first."""
        # Not by the tokens of the sequence: those of the step that are yet to be pushed are among them.
        num_tokens = len(self.seq.prompt_token_ids) + len(self.token_times)
        return num_tokens >= self.seq.max_num_tokens
