from redline.decoding.speculative.history import MAX_OWNERS, HistoryProposer


def test_continues_an_earlier_answer():
    proposer = HistoryProposer()
    proposer.ended([5, 6, 7, 8, 9], "ada")
    drafter = proposer.start([1, 5, 6], "ada")
    assert drafter.propose(9) == [7, 8, 9], "to its end, not into the next"
    assert drafter.propose(2) == [7, 8]


def test_says_nothing_of_what_others_got():
    proposer = HistoryProposer()
    proposer.ended([5, 6, 7, 8, 9], "ada")
    assert proposer.start([1, 5, 6], "ben").propose(9) == []


def test_the_longer_match_proposes_and_of_equal_ones_its_own_text():
    proposer = HistoryProposer()
    proposer.ended([4, 5, 6, 70], "")
    assert proposer.start([5, 6, 1, 4, 5, 6], "").propose(1) == [70]
    assert proposer.start([4, 5, 6, 1, 4, 5, 6], "").propose(1) == [1]
    proposer.ended([3, 4, 5, 6, 80, 4, 5, 6], "")
    assert proposer.start([4, 5, 6], "").propose(1) == [80], "the latest with something behind it"


def test_goes_on_with_its_own_where_an_answer_ends():
    proposer = HistoryProposer()
    proposer.ended([4, 5, 6], "")
    assert proposer.start([5, 6, 1, 4, 5, 6], "").propose(2) == [1, 4]


def test_keeps_the_latest_tokens_and_owners():
    proposer = HistoryProposer(num_tokens=8)
    for first in range(10, 100, 10):
        proposer.ended([first, first + 1, first + 2], "")
    assert proposer.start([80, 81], "").propose(1) == [82]
    assert proposer.start([60, 61], "").propose(1) == []
    for index in range(MAX_OWNERS):
        proposer.ended([1], f"{index}")
    assert proposer.answers_T("") is None and proposer.answers_T("0") is not None
