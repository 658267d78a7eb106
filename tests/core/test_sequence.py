import pytest

from redline.config.sampling import SamplingParams
from redline.core.sequence import Sequence
from redline.errors import RequestError


def sequence(prompt, outputs=()):
    seq = Sequence(0, prompt, SamplingParams(), 0.0)
    seq.output_token_ids.extend(outputs)
    return seq


def test_tokens_at_equals_a_slice_of_all_tokens():
    seq = sequence([1, 2, 3], [4, 5])
    assert seq.token_ids == [1, 2, 3, 4, 5] and seq.num_tokens == 5
    for start in range(5):
        for stop in range(start, 6):
            assert seq.tokens_at(start, stop - start) == seq.token_ids[start:stop]


def test_an_empty_prompt_is_refused():
    with pytest.raises(RequestError, match="prompt is empty") as error:
        sequence([])
    assert error.value.param == "prompt"


def test_forks_share_the_prompt_list():
    prompt = [1, 2, 3]
    assert sequence(prompt).prompt_token_ids is prompt
