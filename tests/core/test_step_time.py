"""Steps that carry prompts aim at a time while the batch has room; full, they use the whole budget."""

from redline.core.step_time import FIRST_TOKENS, STRIDE, NoStepLimit, StepTime
from tests.core.harness import Harness


def test_what_fits_follows_the_rate_that_was_measured():
    limit = StepTime(0.1)
    assert limit.prompt_tokens(0, 512) == FIRST_TOKENS and limit.prompt_tokens(0, 20) == 20
    limit.measured(0, 512, 0.5)
    assert limit.prompt_tokens(0, 512) == 96, "102 fit, in whole strides"
    for _ in range(9):
        limit.measured(0, 96, 0.8)  # it has become slower
    assert limit.prompt_tokens(0, 512) == STRIDE, "never less"
    for _ in range(9):
        limit.measured(0, 100_000, 0.1)
    assert limit.prompt_tokens(0, 512) == 512


def test_decodes_take_their_time_out_of_it_but_leave_half():
    limit = StepTime(0.1)
    for _ in range(9):
        limit.measured(0, 1000, 1.0)
        limit.measured(5, 0, 0.03)
    assert limit.prompt_tokens(0, 512) == 96 and limit.prompt_tokens(5, 512) == 64
    for _ in range(9):
        limit.measured(5, 0, 0.3)
    assert limit.prompt_tokens(5, 512) == 48
    limit.measured(5, 100, 0.4)
    assert limit.prompt_tokens(0, 512) == 64, "of a mixed step, half is the prompts' at least"


def test_few_tokens_and_no_time_say_nothing():
    limit = StepTime(0.1)
    limit.measured(0, STRIDE - 1, 9.0)
    limit.measured(0, 512, 0.0)
    assert limit.prompt_tokens(0, 512) == FIRST_TOKENS


def test_off_takes_all():
    limit = NoStepLimit()
    limit.measured(0, 512, 1.0)
    assert limit.prompt_tokens(3, 512) == 512


def timed(harness, tokens_per_s=100.0):
    """Run a step that takes its time."""
    tokens = []

    def pass_time():
        tokens.append(harness.plans[-1].num_tokens)
        harness.now_s += tokens[-1] / tokens_per_s

    harness.step(pass_time)
    return tokens[0]


def test_chunks_shrink_to_the_time_and_grow_when_requests_queue():
    options = {"max_batch": 2, "token_budget": 128, "max_context": 1024, "num_blocks": 600}
    harness = Harness(step_s=0.32, prompt_share=0.25, **options)
    harness.add([1] * 900, max_tokens=2)
    assert [timed(harness) for _ in range(3)] == [64, 32, 32]
    harness.add([2] * 300, max_tokens=2)
    assert timed(harness) == 32
    harness.add([3] * 10, max_tokens=2)  # no place for it
    timed(harness)
    assert timed(harness) == 128
    harness.run()
    harness.check_outputs()


def test_a_short_prompt_waits_for_two_short_steps_at_most():
    harness = Harness(step_s=0.48, token_budget=128, max_context=1024, num_blocks=600, prompt_share=0.25)
    harness.add([1] * 900, max_tokens=2)
    for _ in range(3):
        timed(harness)
    short = harness.add([2] * 30, max_tokens=2)
    assert timed(harness) == 48 and short.output_token_ids
