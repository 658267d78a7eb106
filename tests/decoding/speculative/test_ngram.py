import random

import pytest

from redline.decoding.speculative.ngram import NgramProposer


def propose(tokens, most=4, shortest=2, longest=4):
    return NgramProposer(shortest, longest).start(tokens, "").propose(most)


@pytest.mark.parametrize(
    "tokens, expected",
    [
        ([], []),
        ([1], []),
        ([1, 2], []),
        ([1, 2, 9, 2], []),  # one token is too little
        ([1, 2, 3, 4, 5, 6, 1, 2], [3, 4, 5, 6]),
        ([1, 2, 3, 1, 2, 4, 5, 6, 1, 2], [4, 5, 6, 1]),  # the latest
        ([7, 1, 2, 3, 8, 1, 2, 4, 7, 1, 2], [3, 8, 1, 2]),  # but rather the longest
        ([5, 6, 7, 5, 6], [7, 5, 6, 7]),  # a loop goes on
        ([4, 4, 4], [4, 4, 4, 4]),
    ],
)
def test_continues_the_best_match(tokens, expected):
    assert propose(tokens) == expected


def test_one_token_is_enough_if_told_so():
    assert propose([1, 2, 9, 1], shortest=1, longest=1) == [2, 9, 1, 2]
    assert propose([1, 2, 9, 3], shortest=1, longest=1) == []


def test_grows_with_its_sequence():
    drafter = NgramProposer().start([1, 2, 3], "")
    assert drafter.propose(2) == []
    drafter.extend([1])
    drafter.extend([2])
    assert drafter.propose(2) == [3, 1]
    drafter.extend(range(100, 400))
    drafter.extend([1, 2])
    assert drafter.propose(2) == [100, 101]


def by_hand(tokens, most, shortest, longest):
    for size in range(longest, shortest - 1, -1):
        for place in range(len(tokens) - 1, size - 1, -1):
            if tokens[place - size : place] == tokens[-size:]:
                longer = list(tokens)
                while len(longer) - len(tokens) < most:
                    longer.append(longer[place + len(longer) - len(tokens)])
                return longer[len(tokens) :]
    return []


@pytest.mark.parametrize("shortest, longest", [(1, 1), (1, 3), (2, 4), (3, 3)])
def test_equals_a_plain_search(shortest, longest):
    draw = random.Random(shortest + longest)
    for _ in range(300):
        tokens = draw.choices(range(4), k=draw.randrange(1, 40))
        got = propose(tokens, 6, shortest, longest)
        assert got == by_hand(tokens, 6, shortest, longest), tokens
