from __future__ import annotations

import json

from redline.techniques import TECHNIQUES


def test_a_pipe_gets_one_aligned_line_per_technique(run) -> None:
    lines = run("techniques")[1].splitlines()
    assert len(lines) == len(TECHNIQUES) + 1
    assert len({line.index(each.promise) for line, each in zip(lines[1:], TECHNIQUES, strict=True)}) == 1


def test_json_has_every_column(run) -> None:
    rows = json.loads(run("techniques", "--json")[1])
    assert [row["name"] for row in rows] == [each.name for each in TECHNIQUES]
    assert set(rows[0]) == set(TECHNIQUES[0].__slots__)


def test_one_technique_is_shown_in_full(run) -> None:
    out = run("techniques", "integer-activations")[1]
    assert out.startswith("integer-activations\n")
    assert "KL divergence" in out and "arXiv:2206.01861" in out


def test_a_terminal_gets_a_table(run, monkeypatch) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    out = run("techniques")[1]
    assert all(each.name in out for each in TECHNIQUES)
    assert "redline techniques NAME" in out
