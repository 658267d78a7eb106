import pytest

from redline import env
from redline.errors import ConfigError


@pytest.mark.parametrize("value", ["abc", "0", "-1", "1025", "1.5", "\u00b2", "9" * 5000])
def test_threads_out_of_range_are_refused(monkeypatch, value):
    monkeypatch.setenv("REDLINE_THREADS", value)
    with pytest.raises(ConfigError, match="REDLINE_THREADS is .*; it must be an integer between 1 and 1024"):
        env.num_threads()


def test_a_long_wrong_value_is_shortened_in_the_message(monkeypatch):
    monkeypatch.setenv("REDLINE_THREADS", "9" * 5000)
    with pytest.raises(ConfigError) as raised:
        env.num_threads()
    assert len(str(raised.value)) < 200


def test_a_cache_in_no_home_is_refused(monkeypatch):
    monkeypatch.setenv("REDLINE_CACHE", "~no-such-user/cache")
    with pytest.raises(ConfigError, match="REDLINE_CACHE is '~no-such-user/cache'"):
        env.cache_dir()


def test_an_unknown_instruction_set_is_refused(monkeypatch):
    monkeypatch.setenv("REDLINE_ISA", "sse2")
    with pytest.raises(ConfigError, match="REDLINE_ISA is 'sse2'; it must be one of scalar, avx2,"):
        env.isa()
