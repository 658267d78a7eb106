"""DRY against its definition, and its cost against hostile text."""

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from redline.config.sampling import SamplingParams
from redline.decoding.steps.breakers import FIRST_LOOK, Breakers
from redline.decoding.steps.build import build_steps
from redline.decoding.steps.repeats import _common_with_start
from redline.decoding.steps.step import TokensBefore

SPELLED = ["a", "b", "c", "d", "\n", "x\ny", "us", "er:", "e", "r"]


class Spelled:
    """A tokenizer of a few tokens."""

    def token_bytes(self, token_id):
        return SPELLED[token_id].encode()


def dry(**options):
    options = {"dry_multiplier": 0.8, "dry_sequence_breakers": ["\n", "user:"], **options}
    (step,) = build_steps(SamplingParams(**options), Spelled()).logits
    return step


def penalties(step, prompt, output=(), drafts=()):
    logits_V = np.zeros(len(SPELLED), np.float32)
    step.apply(logits_V, TokensBefore(list(prompt), list(output), tuple(drafts)))
    return -logits_V


def definition(tokens, window, allowed_length, breakers, multiplier=0.8, base=1.75):
    """For each token, by trying every place at which the end may have stood before."""
    tokens = tokens[-window:]
    ends = [
        any(
            spelled.rfind(breaker) + len(breaker) > len(spelled) - len(SPELLED[tokens[place]])
            for breaker in breakers
            if breaker in spelled
        )
        for place in range(len(tokens))
        if (spelled := "".join(SPELLED[token] for token in tokens[: place + 1])) or True
    ]
    since = next((count for count, broken in enumerate(reversed(ends)) if broken), len(tokens))
    expected = np.zeros(len(SPELLED))
    for place in range(1, len(tokens)):
        length = 0
        while length < min(place, since) and tokens[place - 1 - length] == tokens[len(tokens) - 1 - length]:
            length += 1
        follower = tokens[place]
        if length >= allowed_length and not any(breaker in SPELLED[follower] for breaker in breakers):
            penalty = multiplier * base ** (length - allowed_length)
            expected[follower] = max(expected[follower], penalty)
    return expected


few = st.lists(st.integers(0, len(SPELLED) - 1), min_size=1, max_size=40)
parts = st.lists(st.integers(0, 5), min_size=1, max_size=4)
looping = st.builds(lambda part, count, rest: part * count + rest, parts, st.integers(1, 9), few)


@settings(max_examples=400, deadline=None)
@given(tokens=few | looping, cut=st.integers(1, 80), drafts=st.integers(0, 4), allowed=st.integers(1, 3))
def test_penalties_are_those_of_the_definition(tokens, cut, drafts, allowed):
    step = dry(dry_allowed_length=allowed)
    cut = min(cut, len(tokens))
    known = len(tokens) - min(drafts, len(tokens) - cut)
    expected = definition(tokens, len(tokens), allowed, ["\n", "user:"])
    got = penalties(step, tokens[:cut], tokens[cut:known], tokens[known:])
    assert got == pytest.approx(expected, rel=1e-5)


@settings(max_examples=200, deadline=None)
@given(tokens=looping, window=st.integers(1, 50))
def test_only_the_window_counts(tokens, window):
    step = dry(dry_penalty_last_n=window, dry_sequence_breakers=[])
    assert penalties(step, tokens) == pytest.approx(definition(tokens, window, 2, []), rel=1e-5)


def test_wrong_drafts_and_other_choices_leave_no_trace():
    draw = random.Random(3)
    step = dry()
    prompt, output = [0, 1, 2, 0, 1], []
    for _ in range(60):
        drafts = draw.choices(range(4), k=draw.randint(0, 5))
        for count in range(len(drafts) + 1):
            expected = penalties(dry(), prompt + output + drafts[:count])
            assert penalties(step, prompt, output, drafts[:count]).tolist() == expected.tolist()
        if len(output) == 20:
            other = step.fork()
            assert (
                penalties(other, prompt, [*output, 0, 1]).tolist()
                == penalties(dry(), [*prompt, *output, 0, 1]).tolist()
            )
        output.append(draw.randrange(4))


def test_a_long_repetition_is_penalised_beyond_all_and_finitely():
    got = penalties(dry(dry_base=100.0), [0] * 3000)
    assert np.isfinite(got).all() and got[0] >= 1e29


class Counted(list):
    reads = 0

    def __getitem__(self, place):
        Counted.reads += 1
        return super().__getitem__(place)


@pytest.mark.parametrize(
    "tokens", [[1] * 4000, [1, 2] * 2000, [1] * 2000 + [2] + [1] * 1999], ids=["one", "two", "broken"]
)
def test_the_search_is_linear_in_the_prompt(tokens):
    Counted.reads = 0
    _common_with_start(Counted(tokens))
    assert Counted.reads <= 6 * len(tokens)


def test_breakers_are_found_across_tokens_and_far_back():
    breakers = Breakers(["\n", "user:"], Spelled())
    assert breakers.num_since([0, 6, 7, 0, 1]) == 2
    assert breakers.num_since([0, 6, 8, 9, 1]) == 5
    assert breakers.num_since([5, 0]) == 1
    assert breakers.num_since([4, *[0] * 2 * FIRST_LOOK]) == 2 * FIRST_LOOK
    across = [6, *[7], *[0] * (FIRST_LOOK - 1)]
    assert breakers.num_since(across) == FIRST_LOOK - 1
    assert Breakers([], Spelled()).num_since([4, 4]) == 2
