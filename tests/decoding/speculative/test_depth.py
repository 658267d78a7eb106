from redline.decoding.speculative.depth import NO_DEPTH, Depth, draft_depth
from redline.decoding.speculative.probing import FIRST_PAUSE, LONGEST_PAUSE, Probing


def flat(rows):
    return 1.0


def free(seqs):
    return 0.0


def test_drafts_as_far_as_it_may_where_that_costs_nothing():
    assert draft_depth([0.9, 0.8], 5, 2, 99, flat, free) == Depth(2, 5)
    assert draft_depth([0.9], 5, 1, 4, flat, free) == Depth(1, 3), "within the rows"
    assert draft_depth([0.9] * 4, 5, 4, 4, flat, free) is NO_DEPTH
    assert draft_depth([], 5, 1, 9, flat, free) is NO_DEPTH


def test_counts_what_drafting_costs():
    """A token more is worth it while its chance exceeds what it adds to the cost."""
    assert draft_depth([0.5], 5, 1, 9, flat, lambda seqs: 0.3) == Depth(1, 1)
    assert draft_depth([0.5], 5, 1, 9, flat, lambda seqs: 0.6) is NO_DEPTH
    assert draft_depth([1.0], 5, 1, 9, flat, lambda seqs: 0.6) == Depth(1, 5)
    assert draft_depth([1.0], 5, 1, 9, flat, lambda seqs: 1.0) is NO_DEPTH


def test_leaves_out_whose_drafts_are_mostly_wrong():
    rows = {2: 1.0, 3: 1.1, 4: 1.5, 5: 1.9, 6: 2.0, 7: 2.1, 8: 2.2}
    assert draft_depth([0.9, 0.1], 3, 2, 8, rows.__getitem__, free) == Depth(1, 1)


def test_sees_the_best_of_all_by_trying_all():
    chances, most, rows = [0.95, 0.7, 0.6, 0.2], 6, 5

    def rate(seqs, tokens):
        gained = sum(chance**place for chance in chances[:seqs] for place in range(1, tokens + 1))
        return (rows + gained) / (1 + 0.02 * seqs * tokens + tokens * (0.1 + 0.01 * seqs))

    def pass_cost(seqs):
        return 0.1 + 0.01 * seqs

    found = draft_depth(chances, most, rows, 99, lambda total: 1 + 0.02 * (total - rows), pass_cost)
    every = [Depth(seqs, tokens) for seqs in range(1, 5) for tokens in range(1, most + 1)]
    assert found == max(every, key=lambda depth: rate(*depth))


def test_probes_at_once_and_then_ever_more_seldom_while_it_is_wrong():
    probing, pauses = Probing(), []
    assert probing.due()
    for right in [False] * 8 + [True] * 2:
        probing.judged(right)
        pauses.append(next(steps for steps in range(9999) if probing.due()))
    assert pauses == [FIRST_PAUSE * 2**n for n in range(1, 6)] + [LONGEST_PAUSE] * 3 + [256, 128]
