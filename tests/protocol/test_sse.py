import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from redline.protocol import sse
from redline.protocol.sse import SSEDecoder, encode_event


def test_an_event_is_one_data_line_and_an_empty_one():
    assert encode_event('{"a":"\u00e9"}') == '{"a":"\u00e9"}'.join(("data: ", "\n\n")).encode()


def test_characters_that_clients_take_for_line_ends_are_escaped():
    text = "a\x85b\u2028c\u2029d"
    event = encode_event(json.dumps(text, ensure_ascii=False)).decode()
    assert event.splitlines() == [event.removesuffix("\n\n"), ""]
    assert json.loads(event.removeprefix("data: ")) == text


@given(st.lists(st.text()), st.data())
def test_any_split_of_the_bytes_gives_the_same_events(texts, data):
    stream = b"".join(encode_event(json.dumps(text, ensure_ascii=False)) for text in texts)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=20)))
    decoder = SSEDecoder()
    events: list[str] = []
    for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        events += decoder.feed(stream[start:end])
    assert [json.loads(event) for event in events] == texts


def test_comments_event_names_and_crlf_of_other_servers_are_understood():
    received = b": ping\r\n\r\nevent: message\r\nid: 1\r\ndata:a\r\ndata: b\r\n\r\n"
    assert SSEDecoder().feed(received) == ["a\nb"]


def test_an_event_without_end_is_refused(monkeypatch):
    monkeypatch.setattr(sse, "MAX_EVENT_BYTES", 10)
    decoder = SSEDecoder()
    assert decoder.feed(b"data: 1234") == []
    with pytest.raises(ValueError, match="longer than 10"):
        decoder.feed(b"5")
