"""StructuredDecoding: grammars in the step loop: constraints of new requests, their drafts, their masks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from redline.config.sampling import SamplingParams
from redline.core.drafts import Branches, Drafts
from redline.core.sequence import Status
from redline.decoding.structured.compiler import GrammarCompiler
from redline.decoding.structured.constraint import Constraint
from redline.decoding.structured.jump_ahead import Jump
from redline.decoding.structured.mask_worker import MaskWorker
from redline.engine.choice import ChoiceState


class StructuredDecoding:
    """Costs a step nothing unless a choice in it has a constraint. `max_rows` bounds the rows of a step."""

    def __init__(self, compiler: GrammarCompiler, jump: Jump, max_rows: int) -> None:
        self._compiler = compiler
        self._jump = jump
        self._max_rows = max_rows
        self._worker = MaskWorker()

    def constraint(self, params: SamplingParams) -> Constraint:
        """For an answer with these parameters. Raises RequestError.

        Compiles what is not cached, which may take a second; may be called from another thread.
        """
        return self._compiler.constraint(params.structured_outputs)

    def branches(self, choices: Iterable[ChoiceState], proposed: Branches) -> Branches:
        """`proposed` without those of choices with constraints, whose masks follow one chain."""
        if not proposed:
            return proposed
        constrained = {choice.seq.seq_id for choice in choices if choice.constraint.active}
        return {seq_id: chains for seq_id, chains in proposed.items() if seq_id not in constrained}

    def drafts(self, choices: Iterable[ChoiceState], proposed: Drafts, num_rows: int) -> Drafts:
        """`proposed` as far as the grammars allow it, and tokens that they force, beside `num_rows` rows."""
        constrained = [choice for choice in choices if choice.constraint.active and _decodes(choice)]
        if not constrained:
            return proposed
        drafts = dict(proposed)
        room = self._max_rows - num_rows - sum(map(len, drafts.values()))
        for choice in constrained:
            seq_id = choice.seq.seq_id
            guessed = drafts.pop(seq_id, ())
            draft = self._jump.draft(choice.constraint, guessed, max(0, room + len(guessed)))
            room += len(guessed) - len(draft)
            if draft:
                drafts[seq_id] = draft
        return drafts

    def start_masks(self, sampling: Iterable[tuple[ChoiceState, Sequence[int]]]) -> None:
        """Begin to compute the masks of the choices that a step draws for, each with its drafts there."""
        self._worker.start(
            [(choice.constraint, drafts) for choice, drafts in sampling if choice.constraint.active]
        )

    def finish_masks(self) -> None:
        """Until they are there."""
        self._worker.wait()

    def close(self) -> None:
        """End the thread that computes masks."""
        self._worker.close()


def _decodes(choice: ChoiceState) -> bool:
    decoding = choice.seq.status is Status.RUNNING and choice.seq.num_uncomputed_tokens == 1
    return decoding and choice.seq.params.dola_layer is None
