import pytest

from redline.config.engine import EngineConfig
from redline.config.speculative import SpeculativeConfig
from redline.errors import ConfigError


def test_a_method_or_a_dictionary_says_how_to_speculate():
    assert EngineConfig(model="m").speculative is None
    assert EngineConfig(model="m", speculative="ngram").speculative == SpeculativeConfig(method="ngram")
    options = {"method": "history", "max_draft_tokens": 8}
    assert EngineConfig(model="m", speculative=options).speculative.max_draft_tokens == 8


@pytest.mark.parametrize(
    "value, message",
    [
        ("eagle", "method is 'eagle'; it must be one of ngram, history"),
        (7, "speculative is 7; it must be None, a method"),
        ({}, "names no method"),
        ({"method": "ngram", "tokens": 3}, "unknown key 'tokens'; known: method"),
        (
            {"method": "ngram", "max_draft_tokens": 0},
            "max_draft_tokens is 0; it must be an integer between 1",
        ),
        ({"method": "ngram", "max_draft_tokens": True}, "max_draft_tokens is True"),
        ({"method": "ngram", "min_match": 5}, "min_match is 5 and max_match is 4"),
    ],
)
def test_what_cannot_be_is_refused_by_name(value, message):
    with pytest.raises(ConfigError, match=message):
        EngineConfig(model="m", speculative=value)
