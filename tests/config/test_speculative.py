import pytest

from redline.config.engine import EngineConfig
from redline.config.speculative import SpeculativeConfig
from redline.errors import ConfigError


def test_a_method_or_a_dictionary_says_how_to_speculate():
    assert EngineConfig(model="m").speculative is None
    assert EngineConfig(model="m", speculative="ngram").speculative == SpeculativeConfig(method="ngram")
    options = {"method": "history", "num_speculative_tokens": 8}
    assert EngineConfig(model="m", speculative=options).speculative.num_speculative_tokens == 8
    skipping = EngineConfig(model="m", speculative={"method": "layer_skip", "skip": [5, 3, 5]})
    assert skipping.speculative.skip == (3, 5)


@pytest.mark.parametrize(
    "value, message",
    [
        ("eagle", "speculative model is None; eagle needs the directory of a layer"),
        ("hydra", "method is 'hydra'; it must be one of ngram, history"),
        ({"method": ["ngram"]}, r"method is \['ngram'\]; it must be one of"),
        ("draft_model", "speculative model is None; draft_model needs the alias or the path"),
        ({"method": "draft_model", "model": 3}, "speculative model is 3; draft_model needs"),
        ("medusa", "speculative model is None; medusa needs the directory of heads"),
        ("early_exit", "speculative layers is None; it must be an integer between 1"),
        ("layer_skip", r"speculative skip is \(\); layer_skip needs the layers"),
        ({"method": "layer_skip", "skip": [1, "2"]}, "a layer of speculative skip is '2'"),
        (
            {"method": "ngram", "model": "m"},
            "the method is ngram; only draft_model, medusa and eagle read it",
        ),
        ({"method": "early_exit", "layers": 2, "max_match": 3}, "only ngram and history read it"),
        (7, "speculative is 7; it must be None, a method"),
        ({}, "names no method"),
        ({"method": "ngram", "tokens": 3}, "unknown key 'tokens'; known: method"),
        (
            {"method": "ngram", "num_speculative_tokens": 0},
            "num_speculative_tokens is 0; it must be an integer between 1",
        ),
        ({"method": "ngram", "num_speculative_tokens": True}, "num_speculative_tokens is True"),
        (
            {"method": "draft_model", "model": "m", "num_branches": 2},
            "only ngram, history and medusa read",
        ),
        ({"method": "ngram", "num_branches": 0}, "num_branches is 0; it must be an integer between 1 and 8"),
        ({"method": "ngram", "num_branches": 9}, "num_branches is 9"),
        ({"method": "ngram", "min_match": 5}, "min_match is 5 and max_match is 4"),
    ],
)
def test_what_cannot_be_is_refused_by_name(value, message):
    with pytest.raises(ConfigError, match=message):
        EngineConfig(model="m", speculative=value)
