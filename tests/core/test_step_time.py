"""Long prompts aim at short steps while the batch has room; full, steps use the whole budget."""

from redline.core.step_time import FIRST_TOKENS, QUIET_S, STRIDE, WHOLE, NoStepLimit, StepTime
from tests.core.harness import Harness


def test_what_fits_follows_the_rate_that_was_measured():
    limit = StepTime(0.1)
    assert limit.chunk(0, 2, 0.0) == FIRST_TOKENS
    limit.measured(0, 512, 0.5)
    assert limit.chunk(0, 2, 0.0) == 96, "102 fit, in whole strides"
    for _ in range(9):
        limit.measured(0, 96, 0.8)  # it has become slower
    assert limit.chunk(0, 2, 0.0) == STRIDE, "never less"


def test_decodes_take_their_time_out_of_it_but_leave_half():
    limit = StepTime(0.1)
    for _ in range(9):
        limit.measured(0, 1000, 1.0)
        limit.measured(5, 0, 0.03)
    assert limit.chunk(0, 2, 0.0) == 96 and limit.chunk(5, 2, 0.0) == 64
    for _ in range(9):
        limit.measured(5, 0, 0.3)
    assert limit.chunk(5, 2, 0.0) == 48
    limit.measured(5, 100, 0.4)
    assert limit.chunk(0, 2, 0.0) == 64, "of a mixed step, half is the prompts' at least"


def test_a_sequence_that_is_alone_for_a_while_may_take_longer():
    limit = StepTime(0.1)
    limit.measured(0, 512, 0.512)
    limit.arrived(5.0)
    assert limit.chunk(0, 1, 5.0) == 96, "others may follow"
    assert limit.chunk(0, 1, 5.0 + QUIET_S) == 496, "nobody did"
    assert limit.chunk(0, 2, 7.1) == 96
    assert limit.chunk(0, 1, 7.1 + QUIET_S / 2) == 96
    assert limit.chunk(0, 1, 7.1 + QUIET_S) == 496


def test_few_tokens_and_no_time_say_nothing():
    limit = StepTime(0.1)
    limit.measured(0, STRIDE - 1, 9.0)
    limit.measured(0, 512, 0.0)
    assert limit.chunk(0, 2, 0.0) == FIRST_TOKENS


def test_off_sets_no_limit():
    limit = NoStepLimit()
    limit.measured(0, 512, 1.0)
    assert limit.chunk(3, 2, 0.0) is None


def timed(harness, tokens_per_s=100.0):
    """Run a step that takes its time; returns its tokens."""
    tokens = []

    def pass_time():
        tokens.append(harness.plans[-1].num_tokens)
        harness.now_s += tokens[-1] / tokens_per_s

    harness.step(pass_time)
    return tokens[0]


OPTIONS = {"token_budget": 128, "max_context": 1024, "num_blocks": 600, "prompt_share": 0.25}


def test_chunks_shrink_beside_others_and_grow_when_requests_queue():
    harness = Harness(step_s=0.5, max_batch=2, **OPTIONS)
    harness.add([1] * 900, max_tokens=2)
    assert [timed(harness) for _ in range(4)] == [32, 48, 48, 128], "it has become alone"
    harness.add([2] * 300, max_tokens=2)
    assert timed(harness) == 2 * WHOLE // 4, "each its share"
    harness.add([3] * 10, max_tokens=2)  # no place for it
    timed(harness)
    assert timed(harness) == 128
    harness.run()
    harness.check_outputs()


def test_those_who_queue_are_company_too():
    harness = Harness(step_s=0.1, max_batch=1, **OPTIONS)
    harness.add([1] * 1000, max_tokens=2)
    timed(harness, 500.0)
    waiting = harness.add([2] * 10, max_tokens=2)  # no place for it, for longer than QUIET_S
    assert [timed(harness, 500.0) for _ in range(6)][1:] == [128] * 5
    harness.scheduler.abort(waiting.seq_id)
    timed(harness, 500.0)
    assert timed(harness, 500.0) == 48, "as soon after company"


def test_a_long_prompt_gives_way_to_one_that_ends_but_not_twice_in_a_row():
    harness = Harness(step_s=0.3, **OPTIONS)
    long = harness.add([1] * 900, max_tokens=2)
    for _ in range(3):
        timed(harness)
    for step in range(6):
        computed = long.num_computed_tokens
        short = harness.add([2 + step] * 40, max_tokens=1)
        tokens = timed(harness)
        assert short.output_token_ids and not long.output_token_ids
        waited = step % 2 == 0
        assert tokens == (40 if waited else 40 + STRIDE)
        assert long.num_computed_tokens == computed + (0 if waited else STRIDE)
    harness.run()
    harness.check_outputs()


def test_of_two_long_prompts_none_gives_way():
    harness = Harness(step_s=0.3, **OPTIONS)
    first = harness.add([1] * 900, max_tokens=2)
    second = harness.add([2] * 900, max_tokens=2)
    for _ in range(4):
        timed(harness)
    assert first.num_computed_tokens and second.num_computed_tokens
    assert all(len(plan.items) == 2 for plan in harness.plans[:4])
