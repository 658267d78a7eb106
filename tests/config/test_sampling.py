import math

import pytest

from redline.config.sampling import SamplingParams
from redline.errors import RequestError


@pytest.mark.parametrize(
    "field, value",
    [
        ("n", 0),
        ("n", 129),
        ("n", 1.0),
        ("n", True),
        ("max_tokens", 0),
        ("max_tokens", 2**31),
        ("min_tokens", -1),
        ("temperature", -0.1),
        ("temperature", math.nan),
        ("temperature", math.inf),
        ("temperature", "1"),
        ("temperature", 10**400),
        ("top_k", -2),
        ("top_p", 0.0),
        ("top_p", 1.1),
        ("min_p", 1.5),
        ("repetition_penalty", 0.0),
        ("presence_penalty", 2.5),
        ("frequency_penalty", -2.5),
        ("seed", 2**63),
        ("logprobs", 21),
        ("stop", [""]),
        ("stop", [1]),
        ("stop", "\udcff"),
        ("stop", 5),
        ("stop", ["x"] * 17),
        ("stop_token_ids", [-1]),
        ("stop_token_ids", "12"),
        ("logit_bias", {1: 101.0}),
        ("logit_bias", {"1": 1.0}),
        ("logit_bias", [1]),
        ("ignore_eos", 1),
    ],
)
def test_a_bad_value_is_refused_by_name(field, value):
    with pytest.raises(RequestError, match=field) as caught:
        SamplingParams(**{field: value})
    assert caught.value.param == field


def test_min_tokens_must_fit_max_tokens():
    with pytest.raises(RequestError, match="min_tokens"):
        SamplingParams(min_tokens=5, max_tokens=4)


def test_values_are_normalised():
    params = SamplingParams(stop="end", stop_token_ids=[1, 2], top_k=-1, max_tokens=None)
    assert (params.stop, params.stop_token_ids, params.top_k) == (("end",), (1, 2), 0)
    assert SamplingParams(temperature=0).greedy
    assert not params.greedy
