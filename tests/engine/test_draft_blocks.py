"""What a draft model has computed, through shared blocks, copies, preemption and wrong drafts."""

import pytest

from redline.config.sampling import SamplingParams
from redline.core.sequence import Sequence
from redline.engine.draft_blocks import DraftBlocks

SIZE = 4


@pytest.fixture
def blocks():
    return DraftBlocks(SIZE)


def sequence(seq_id, tokens, table):
    seq = Sequence(seq_id, list(tokens), SamplingParams(), 0.0)
    seq.block_tables = (list(table),)
    return seq


def compute(blocks, seq, drafts=()):
    start = blocks.start(seq)
    blocks.computed(seq, start, seq.num_tokens, drafts)
    return start


def test_goes_on_behind_the_drafts_that_came(blocks):
    seq = sequence(0, range(6), [7, 8, 9])
    assert compute(blocks, seq, drafts=[60, 61]) == 0
    seq.output_token_ids += [60, 99]
    assert compute(blocks, seq, drafts=[70, 71]) == 7, "60 is there, where 61 is comes 99"
    seq.output_token_ids += [70, 71, 72]
    assert blocks.start(seq) == 10


def test_the_last_token_is_always_computed(blocks):
    seq = sequence(0, range(6), [7, 8])
    compute(blocks, seq)
    assert blocks.start(seq) == 5


def test_full_blocks_are_shared_by_their_text(blocks):
    compute(blocks, sequence(0, range(10), [1, 2, 3]))
    assert blocks.start(sequence(1, range(11), [1, 2, 5])) == 8
    assert blocks.start(sequence(2, [*range(4), 50, 5, 6, 7, 8], [1, 2, 5])) == 4, "another text since"
    assert blocks.start(sequence(3, [50, *range(1, 9)], [1, 2, 5])) == 0
    assert blocks.start(sequence(4, range(4, 13), [2, 3, 5])) == 0, "its text, but behind another"


def test_blocks_that_another_wrote_to_are_not_what_they_were(blocks):
    compute(blocks, sequence(0, range(9), [1, 2, 3]))
    compute(blocks, sequence(1, range(30, 36), [6, 1]), drafts=[36])
    assert blocks.start(sequence(2, range(9), [1, 2, 3])) == 0


def test_a_copy_made_for_writing_is_computed_again(blocks):
    seq = sequence(0, range(7), [1, 2])
    compute(blocks, seq)
    seq.output_token_ids.append(7)
    seq.block_tables[0][1] = 9
    assert blocks.start(seq) == 4


def test_a_block_of_the_same_text_may_take_the_place_of_another(blocks):
    compute(blocks, sequence(0, range(9), [1, 2, 3]))
    seq = sequence(1, range(8), [5, 6, 7])
    blocks.start(seq)
    blocks.computed(seq, 0, 7)
    seq.output_token_ids.append(8)
    seq.block_tables[0][1] = 2
    assert blocks.start(seq) == 8
    seq.block_tables[0][:2] = [1, 3]
    assert blocks.start(seq) == 4


def test_of_a_copied_block_the_tokens_in_common_are_known(blocks):
    compute(blocks, sequence(0, range(8), [1, 2]))
    assert not blocks.copied(sequence(1, [*range(6), 60], [3, 4]), 2, 6), (
        "what is before them was not computed"
    )
    assert not blocks.copied(sequence(2, [*range(6), 60], [1, 4]), 9, 6), "nor was the source"
    seq = sequence(3, [*range(6), 60, 70, 80], [1, 4, 5])
    assert blocks.copied(seq, 2, 6) and blocks.start(seq) == 6


def test_a_block_that_was_written_ahead_is_not_what_it_was(blocks):
    compute(blocks, sequence(0, range(9), [1, 2, 3]))
    blocks.overwritten(sequence(1, range(50, 54), [7, 2]), 4, 5)
    assert blocks.start(sequence(2, range(9), [1, 2, 3])) == 4


def test_after_a_preemption_only_what_blocks_are_known_for_counts(blocks):
    seq = sequence(0, range(10), [1, 2, 3])
    compute(blocks, seq)
    compute(blocks, sequence(1, range(40, 44), [2]))
    seq.num_preemptions += 1
    assert blocks.start(seq) == 4


def test_forgets(blocks):
    seq = sequence(0, range(3), [1])
    compute(blocks, seq)
    blocks.ended(seq)
    assert not blocks._seen and blocks.start(seq) == 0
