"""The table of techniques is true, and docs/techniques.md says the same.

`python -m tests.test_techniques` writes the table into the document; the paragraphs are written by hand.
"""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

import pytest

from redline.bench.ablate.switches import BY_NAME
from redline.config.engine import CHOICES, EngineConfig
from redline.technique import ALWAYS_ON, Technique
from redline.techniques import TECHNIQUES

ROOT = Path(__file__).parent.parent
DOCUMENT = ROOT / "docs" / "techniques.md"
NAMES = [technique.name for technique in TECHNIQUES]
MARKS = ("<!-- table: generated from redline/techniques.py -->", "<!-- end of table -->")
by_name = pytest.mark.parametrize("technique", TECHNIQUES, ids=NAMES)


def table() -> str:
    rows = [
        "| technique | promise | switch to the baseline | measured on SmolLM2 | file |",
        "|---|---|---|---|---|",
    ]
    for each in TECHNIQUES:
        file = f"[{each.file}](../{each.file})"
        rows.append(
            f"| [{each.name}](#{each.name}) | {each.promise} | {each.switch} | {measured(each)} | {file} |"
        )
    return "\n".join(rows)


def measured(technique: Technique) -> str:
    """The number, linked to the report that has it, or why there is none."""
    payoff = technique.payoff
    return technique.unmeasured if payoff is None else f"[{payoff.text}](../{payoff.report})"


@by_name
def test_it_has_a_payoff_or_says_why_not(technique: Technique) -> None:
    assert (technique.payoff is None) == bool(technique.unmeasured)
    for name in re.findall(r"--only (\S+?)`", technique.unmeasured):
        assert name in BY_NAME
    for name in re.findall(r"number of (\S+),", technique.unmeasured):
        [other] = (each for each in TECHNIQUES if each.name == name)
        assert other.payoff is not None and other.switch == technique.switch


@by_name
def test_what_was_measured_is_in_a_report(technique: Technique) -> None:
    """Each factor is a number of the report, rounded to as many digits."""
    if technique.payoff is None:
        return
    assert re.search(r"\d", technique.payoff.text) or "part of" in technique.payoff.text
    report = (ROOT / technique.payoff.report).read_text()
    known = [float(number) for number in re.findall(r"\d+(?:\.\d+)?", report)]
    for factor in re.findall(r"([\d.]+)x", technique.payoff.text):
        digits = len(factor.partition(".")[2])
        assert float(factor) in {round(number, digits) for number in known}, factor


def test_names_are_unique() -> None:
    assert len(set(NAMES)) == len(NAMES)


@by_name
def test_the_file_exists(technique: Technique) -> None:
    assert (ROOT / technique.file).is_file(), f"{technique.file} is missing"


@by_name
def test_the_switch_is_an_option_of_the_engine(technique: Technique) -> None:
    if technique.option is None:
        assert technique.switch == ALWAYS_ON
        return
    name, value = technique.option
    assert name in {field.name for field in fields(EngineConfig)}
    assert name not in CHOICES or value in CHOICES[name]
    baseline = EngineConfig(model="smollm2", **{name: value})
    assert baseline != EngineConfig(model="smollm2"), "the switch must change something"


@by_name
def test_a_bound_is_stated_where_one_is_promised(technique: Technique) -> None:
    assert bool(technique.limit) == (technique.promise == "bound")


@by_name
def test_needs_and_excludes_name_techniques(technique: Technique) -> None:
    assert set(technique.needs) | set(technique.excludes) <= set(NAMES) - {technique.name}


@by_name
def test_it_has_a_paragraph(technique: Technique) -> None:
    section = re.search(rf"^## {technique.name}\n(.*?)(?=^## |\Z)", DOCUMENT.read_text(), re.S | re.M)
    assert section, f"docs/techniques.md has no section '## {technique.name}'"
    assert len(section[1].split()) >= 25, "a paragraph says what it does, what it buys and when it hurts"


def test_the_document_has_no_other_sections() -> None:
    assert re.findall(r"^## (.*)$", DOCUMENT.read_text(), re.M) == NAMES


def test_the_table_of_the_document_is_current() -> None:
    assert table() in DOCUMENT.read_text(), "run: python -m tests.test_techniques"


def write_table() -> None:
    text = DOCUMENT.read_text()
    before, rest = text.split(MARKS[0])
    after = rest.split(MARKS[1])[1]
    DOCUMENT.write_text(f"{before}{MARKS[0]}\n{table()}\n{MARKS[1]}{after}")


if __name__ == "__main__":
    write_table()
