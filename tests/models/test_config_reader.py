import pytest

from redline.errors import ModelFileError, UnsupportedModel
from redline.models.config_reader import ConfigReader


def reader(**values):
    return ConfigReader(values, "config.json")


def test_values_come_back_with_their_type():
    config = reader(a=3, b=2, c="x", d=None, e=True, f=[1])
    assert config.require("a", int) == 3
    assert config.require("b", float) == 2.0 and isinstance(config.require("b", float), float)
    assert config.default("c", "y") == "x"
    assert config.default("d", 7) == 7 and config.default("absent", 7) == 7
    assert config.optional("d", int) is None
    assert config.expect("e", (True,)) is True
    assert config.is_null("d") and not config.is_null("absent") and not config.is_null("a")
    assert "a" in config and "d" not in config
    assert config.is_list("f") and not config.is_list("a")
    assert config.require("f", list) == [1]
    config.done()


@pytest.mark.parametrize(
    "value, kind",
    [("3", int), (3.0, int), (True, int), (True, float), ("x", float), (2**60, float), (1, bool), (1, str)],
)
def test_a_wrong_type_is_refused(value, kind):
    with pytest.raises(ModelFileError, match="config.json: a is .*; it must be"):
        reader(a=value).require("a", kind)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_numbers_are_finite(value):
    with pytest.raises(ModelFileError, match="must be finite"):
        reader(a=value).default("a", 1.0)


def test_what_was_not_read_is_named():
    config = reader(known=1, harmless=2, odd=3, missing=None)
    config.require("known", int)
    config.ignore("harmless")
    with pytest.raises(UnsupportedModel, match=r"config.json: settings that Redline does not know: odd=3$"):
        config.done()


def test_sections_are_read_the_same_way():
    section = reader(inner={"x": 1, "y": 2}).section("inner")
    assert section.size("x") == 1
    with pytest.raises(UnsupportedModel, match="config.json: inner: .*y=2"):
        section.done()


def test_long_values_are_shortened():
    with pytest.raises(UnsupportedModel) as raised:
        reader(a="x" * 10_000).expect("a", ("y",))
    assert len(str(raised.value)) < 150
