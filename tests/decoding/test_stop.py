"""StopStrings against a brute-force scan of the whole text, however it is cut into pieces."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from redline.decoding.stop import StopStrings

words = st.text("ab", min_size=1, max_size=6)
cut_text = st.lists(st.text("ab", max_size=5), max_size=12)


def brute_force(text: str, stops: list[str], include: bool) -> tuple[str, str | None]:
    for end in range(1, len(text) + 1):
        done = [stop for stop in stops if text[:end].endswith(stop)]
        if done:
            stop = max(done, key=len)
            return text[: end if include else end - len(stop)], stop
    return text, None


def scan(pieces: list[str], stops: list[str], include: bool) -> tuple[list[str], str | None]:
    scanner = StopStrings(stops, include=include)
    shown, stop = [], None
    for piece in pieces:
        safe, stop = scanner.push(piece)
        shown.append(safe)
        if stop is not None:
            break
    return [*shown, scanner.flush()], stop


@given(cut_text, st.lists(words, max_size=4), st.booleans())
@example(["aa", "ab"], ["aab"], False)
@example(["abab", "abb"], ["ababb", "bb"], True)
def test_equals_brute_force(pieces, stops, include):
    shown, stop = scan(pieces, stops, include)
    assert ("".join(shown), stop) == brute_force("".join(pieces), stops, include)


@given(cut_text, st.lists(words, min_size=1, max_size=4))
def test_nothing_that_was_shown_belongs_to_a_stop_string(pieces, stops):
    scanner, shown, seen = StopStrings(stops), "", ""
    final = brute_force("".join(pieces), stops, include=False)[0]
    for piece in pieces:
        shown += scanner.push(piece)[0]
        seen += piece
        assert final.startswith(shown)


@given(cut_text, st.lists(words, min_size=1, max_size=4))
def test_only_what_could_begin_a_stop_string_is_held_back(pieces, stops):
    scanner, shown, seen = StopStrings(stops), "", ""
    for piece in pieces:
        safe, stop = scanner.push(piece)
        shown, seen = shown + safe, seen + piece
        held = seen[len(shown) :]
        if stop is not None:
            break
        assert not held or any(candidate.startswith(held) for candidate in stops)


def test_without_stop_strings_text_passes():
    assert StopStrings(()).push("anything") == ("anything", None)


def test_nothing_follows_a_stop_string():
    scanner = StopStrings(["\n\n"])
    assert scanner.push("one\n\ntwo") == ("one", "\n\n")
    assert scanner.push("three") == ("", "\n\n")
    assert scanner.flush() == ""


@pytest.mark.parametrize("include, shown", [(False, "one"), (True, "oneEND")])
def test_include(include, shown):
    assert StopStrings(["END"], include=include).push("oneENDtwo") == (shown, "END")


def test_a_huge_stop_string_costs_nothing_until_it_is_spelled():
    scanner = StopStrings(["a" * 10_000_000 + "b"])
    assert scanner.push("aaa") == ("", None)
    assert scanner.push("c") == ("aaac", None)
