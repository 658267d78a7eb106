from redline.decoding.speculative.verify import num_kept


def test_keeps_what_agrees_up_to_the_first_that_does_not():
    assert num_kept([], [7]) == 0
    assert num_kept([7, 8], [7, 8, 9]) == 2
    assert num_kept([7, 8, 9], [7, 1, 9, 9]) == 1
    assert num_kept([7], [1, 1]) == 0
