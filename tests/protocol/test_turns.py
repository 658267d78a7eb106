from redline.protocol import turns as module
from redline.protocol.turns import call_turn, result_turn, text_turn, thought_turn, turns


def test_who_speaks_twice_in_a_row_has_spoken_once():
    said = [
        text_turn("user", ["a"]),
        text_turn("user", ["b", "c"]),
        thought_turn("hm"),
        text_turn("assistant", ["d"]),
        call_turn("1", "f", "{}"),
        thought_turn("so"),
        call_turn("2", "g", "{}"),
        result_turn("1", "x"),
        result_turn("2", "y"),
        text_turn("user", ["e"]),
    ]
    user, assistant, first, second, last = turns(said)
    assert [part["text"] for part in user["content"]] == ["a", "b", "c"]
    assert [part["text"] for part in assistant["content"]] == ["d"]
    assert [call["id"] for call in assistant["tool_calls"]] == ["1", "2"]
    assert assistant["reasoning"] == "hm\nso"
    assert (first, second, last) == tuple(said[-3:])
    assert "tool_calls" not in user and "reasoning" not in user
    assert len(said[0]["content"]) == 1, "what was said before is kept as it was"


def test_joining_many_turns_is_linear_in_them(monkeypatch):
    """A body of 4 MiB has 150,000 blocks; copying what is there for each new one took half a minute."""
    joined, copied = module._joined, []

    def counted(*args):
        result = joined(*args)
        copied.append(len(result["content"]))
        return result

    monkeypatch.setattr(module, "_joined", counted)
    (message,) = turns(text_turn("user", [str(place)]) for place in range(2000))
    assert len(message["content"]) == 2000 and sum(copied) == 2000
