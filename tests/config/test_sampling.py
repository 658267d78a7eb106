import dataclasses
import math

import pytest

from redline.config.beams import COMPATIBLE
from redline.config.pooling import PoolingParams
from redline.config.sampling import SamplingParams, num_processor_arguments
from redline.errors import RequestError


@pytest.mark.parametrize(
    "field, value",
    [
        ("n", 0),
        ("n", 129),
        ("n", 1.0),
        ("n", True),
        ("max_tokens", -1),
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
        ("keep_special_tokens", [1]),
        ("keep_special_tokens", 5),
        ("stop_token_ids", [-1]),
        ("stop_token_ids", "12"),
        ("logit_bias", {1: 101.0}),
        ("logit_bias", {"1": 1.0}),
        ("logit_bias", [1]),
        ("ignore_eos", 1),
        ("typical_p", 0.0),
        ("typical_p", 1.1),
        ("top_n_sigma", -0.5),
        ("top_n_sigma", math.nan),
        ("top_n_sigma", 101),
        ("xtc_probability", 1.1),
        ("xtc_threshold", -0.1),
        ("mirostat", 3),
        ("mirostat", 1.0),
        ("mirostat", True),
        ("mirostat_tau", -1.0),
        ("mirostat_eta", 1.1),
        ("dry_multiplier", -0.1),
        ("dry_base", 0.5),
        ("dry_allowed_length", 0),
        ("dry_penalty_last_n", -2),
        ("dry_sequence_breakers", [""]),
        ("dry_sequence_breakers", ["x"] * 65),
        ("dry_sequence_breakers", ["x" * 129]),
        ("dry_sequence_breakers", "x"),
        ("bad_words", "word"),
        ("bad_words", [""]),
        ("bad_words", ["x"] * 257),
        ("bad_words", ["x" * 129]),
        ("bad_words", ["\udcff"]),
        ("allowed_token_ids", []),
        ("allowed_token_ids", [-1]),
        ("allowed_token_ids", [True]),
        ("logits_processors", [3]),
        ("logits_processors", len),
        ("logits_processors", [lambda logits: logits]),
        ("logits_processors", [lambda a, b, c, d: d]),
    ],
)
def test_a_bad_value_is_refused_by_name(field, value):
    with pytest.raises(RequestError, match=field) as caught:
        SamplingParams(**{field: value})
    assert caught.value.param == field


@pytest.mark.parametrize(
    "field, options",
    [
        ("best_of", {"n": 3, "best_of": 2}),
        ("best_of", {"n": 1, "best_of": 2}),
        ("best_of", {"best_of": 129}),
        ("best_of", {"use_beam_search": True}),
        ("best_of", {"use_beam_search": True, "n": 1, "best_of": 1}),
        ("best_of", {"use_beam_search": True, "n": 4, "best_of": 3}),
        ("length_penalty", {"length_penalty": 0.5}),
        ("early_stopping", {"early_stopping": True}),
        ("num_beam_groups", {"num_beam_groups": 2}),
        ("diversity_penalty", {"diversity_penalty": 0.1}),
        ("temperature", {"use_beam_search": True, "n": 2, "temperature": 0.7}),
        ("top_p", {"use_beam_search": True, "n": 2, "top_p": 0.9}),
        ("top_k", {"use_beam_search": True, "n": 2, "top_k": 5}),
        ("min_p", {"use_beam_search": True, "n": 2, "min_p": 0.1}),
        ("stop", {"use_beam_search": True, "n": 2, "stop": "x"}),
        ("logit_bias", {"use_beam_search": True, "n": 2, "logit_bias": {1: 1.0}}),
        ("repetition_penalty", {"use_beam_search": True, "n": 2, "repetition_penalty": 1.1}),
        ("presence_penalty", {"use_beam_search": True, "n": 2, "presence_penalty": 0.1}),
        ("frequency_penalty", {"use_beam_search": True, "n": 2, "frequency_penalty": 0.1}),
        ("length_penalty", {"use_beam_search": True, "n": 2, "length_penalty": math.nan}),
        ("length_penalty", {"use_beam_search": True, "n": 2, "length_penalty": 11}),
        ("early_stopping", {"use_beam_search": True, "n": 2, "early_stopping": "always"}),
        ("early_stopping", {"use_beam_search": True, "n": 2, "early_stopping": 1}),
        ("use_beam_search", {"use_beam_search": 1, "n": 2}),
        ("num_beam_groups", {"use_beam_search": True, "n": 4, "num_beam_groups": 3, "diversity_penalty": 1}),
        ("num_beam_groups", {"use_beam_search": True, "n": 4, "num_beam_groups": 0}),
        ("diversity_penalty", {"use_beam_search": True, "n": 4, "num_beam_groups": 2}),
        ("diversity_penalty", {"use_beam_search": True, "n": 4, "diversity_penalty": 0.5}),
        ("diversity_penalty", {"use_beam_search": True, "n": 4, "diversity_penalty": -1.0}),
    ],
)
def test_options_of_beam_search_that_do_not_fit_are_refused_by_name(field, options):
    with pytest.raises(RequestError, match=field) as caught:
        SamplingParams(**options)
    assert caught.value.param == field


def test_every_field_is_either_one_of_beam_search_or_refused_with_it():
    """A field that is new is refused until somebody says that beams respect it."""
    params = SamplingParams(use_beam_search=True, n=2, temperature=0, min_tokens=1, seed=3, logprobs=1)
    assert {field.name for field in dataclasses.fields(params)} >= COMPATIBLE
    assert params.beam_width == 2 and SamplingParams(n=2, best_of=2).beam_width == 2


def test_min_tokens_must_fit_max_tokens():
    with pytest.raises(RequestError, match="min_tokens"):
        SamplingParams(min_tokens=5, max_tokens=4)


def test_values_are_normalised():
    assert SamplingParams(keep_special_tokens="<a>").keep_special_tokens == ("<a>",)
    params = SamplingParams(stop="end", stop_token_ids=[1, 2], top_k=-1, max_tokens=None)
    assert (params.stop, params.stop_token_ids, params.top_k) == (("end",), (1, 2), 0)
    assert SamplingParams(temperature=0).greedy
    assert not params.greedy


@pytest.mark.parametrize(
    "beside",
    [{"top_k": 5}, {"top_p": 0.9}, {"min_p": 0.1}, {"typical_p": 0.5}, {"top_n_sigma": 1.0}]
    + [{"xtc_probability": 0.1}],
)
def test_mirostat_wants_no_other_truncation(beside):
    with pytest.raises(RequestError, match=f"mirostat is 2 and {next(iter(beside))}") as caught:
        SamplingParams(mirostat=2, **beside)
    assert caught.value.param == "mirostat"
    assert (
        SamplingParams(mirostat=2, top_k=-1, top_n_sigma=0, temperature=0.5, xtc_threshold=0.3).mirostat == 2
    )


def test_a_processor_takes_two_arguments_or_three():
    counts = [
        lambda output, logits: logits,
        lambda prompt, output, logits: logits,
        lambda *tokens: tokens[-1],
    ]
    assert [num_processor_arguments(processor) for processor in counts] == [2, 3, 2]
    assert len(SamplingParams(logits_processors=counts).logits_processors) == 3


@pytest.mark.parametrize(
    "values", [{"prompt_logprobs": 1}, {"max_tokens": 4}, {"temperature": 0.0}, {"stop": "x"}]
)
def test_an_embedding_takes_no_parameters_of_sampling(values) -> None:
    assert PoolingParams().max_tokens == 0
    with pytest.raises(RequestError) as caught:
        PoolingParams(**values)
    assert caught.value.param == next(iter(values))
