import pytest

from redline.decoding.speculative.history import HistoryProposer
from redline.decoding.speculative.ngram import NgramProposer
from redline.decoding.speculative.tree import Fork, branch_lengths, distinct, parting


def test_branches_part_each_at_a_token_of_its_own():
    first = [1, 2, 3, 4]
    others = [
        [1, 2, 3],  # ends where the first goes on
        [1, 9, 9, 9],
        [1, 9, 8],  # as the one before, to begin with
        [1, 7, 3, 4],
        [5],
        [6, 2],
    ]
    assert distinct([first, *others], 5) == [first, [1, 9, 9, 9], [1, 7, 3, 4], [5], [6, 2]]
    assert distinct([first, *others], 2) == [first, [1, 9, 9, 9]]
    assert parting(first, [1, 2, 9]) == 2 and parting(first, [1, 2]) == 2


def test_a_branch_is_worth_what_comes_where_the_chain_is_wrong():
    fork = Fork(num_shared=1, length=4, chance=0.5, hit=0.4)
    by_hand = sum(0.5 * 0.5 * 0.4 * 0.5**place for place in range(3))
    assert fork.gain(4) == pytest.approx(by_hand)
    assert fork.gain(1) == 0


def test_branches_are_computed_where_they_pay():
    def lengths(cost, max_rows=16, **chances):
        forks = [Fork(0, 3, **chances), Fork(2, 6, **chances)]
        return branch_lengths(forks, 2.0, 4, max_rows, cost)

    good = {"chance": 0.5, "hit": 0.9}
    assert lengths(lambda rows: 1.0, **good) == [3, 6], "rows are free"
    assert lengths(lambda rows: 1.0, max_rows=8, **good) == [3, 0]
    assert lengths(lambda rows: 1.0, max_rows=7, **good) == [2, 0]
    assert lengths(lambda rows: 1.0, max_rows=5, **good) == [0, 0]
    assert lengths(float, **good) == [0, 0], "each row costs a step"
    assert lengths(lambda rows: 1.0, chance=1.0, hit=0.9) == [0, 0], "the chain is right"
    assert lengths(lambda rows: 1.0, chance=0.5, hit=0.0) == [0, 0]


A = [1, 2, 3, 4, 5]
TEXT = [*A, 9, 1, 2, 6, 4, 9, 1, 2, 3, 4, 7, 9, 1, 2]


def test_ngrams_propose_what_followed_other_occurrences():
    drafter = NgramProposer(2, 3).start(TEXT, "")
    assert drafter.propose_tree(3, 1) == [drafter.propose(3)] == [[3, 4, 7]]
    assert drafter.propose_tree(3, 4) == [[3, 4, 7], [6, 4, 9], [3, 4, 5]]
    assert NgramProposer(2, 3).start([1, 2, 3], "").propose_tree(3, 4) == []


def test_history_adds_those_of_earlier_answers():
    proposer = HistoryProposer(2, 3)
    proposer.ended([9, 1, 2, 8, 8, 1, 2], "me")
    drafter = proposer.start(TEXT, "me")
    assert drafter.propose_tree(3, 8) == [[3, 4, 7], [6, 4, 9], [3, 4, 5], [8, 8, 1]]
    assert proposer.start(TEXT, "other").propose_tree(3, 8) == [[3, 4, 7], [6, 4, 9], [3, 4, 5]]
    fresh = proposer.start([1, 2], "me")
    assert fresh.propose_tree(3, 8) == [[8, 8, 1]]
