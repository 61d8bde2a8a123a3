"""Every stream of bytes is read as the WHATWG specification has it, however it was cut."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safety_proxy.errors import BackendError
from safety_proxy.sse import ServerSentEvent, SSEDecoder, encode


def read(*pieces: bytes, limit: int = 1000) -> list[ServerSentEvent]:
    """All events of a stream that came in *pieces*."""
    decoder = SSEDecoder(limit)
    events = [event for piece in pieces for event in decoder.feed(piece)]
    return events + decoder.flush()


def read_until_error(*pieces: bytes, limit: int) -> tuple[list[ServerSentEvent], bool]:
    """All events of a stream, and whether it ended in an error."""
    decoder = SSEDecoder(limit)
    events: list[ServerSentEvent] = []
    try:
        for piece in pieces:
            events += decoder.feed(piece)
        events += decoder.flush()
        events += decoder.flush()
    except BackendError:
        return events, True
    return events, False


def cuttings(data: bytes) -> list[list[bytes]]:
    """Whole, byte by byte, at every place in two, and with empty reads between."""
    bytewise = [data[i : i + 1] for i in range(len(data))]
    spaced = [piece for byte in bytewise for piece in (byte, b"")]
    return [[data], bytewise, spaced, *([data[:i], data[i:]] for i in range(len(data) + 1))]


def event(data: str, name: str = "") -> ServerSentEvent:
    return ServerSentEvent(data.encode(), name)


STREAMS = {
    "LF": (b"data: one\n\ndata: two\n\n", [event("one"), event("two")]),
    "CR": (b"data: one\r\rdata: two\r\r", [event("one"), event("two")]),
    "CRLF": (b"data: one\r\n\r\ndata: two\r\n\r\n", [event("one"), event("two")]),
    "mixed line ends": (b"data: one\r\n\ndata: two\n\r\ndata: three\r\r\n", [event("one"), event("two"), event("three")]),
    "byte order mark": (b"\xef\xbb\xbfdata: one\n\n", [event("one")]),
    "byte order mark before CRLF": (b"\xef\xbb\xbf\r\ndata: one\r\n\r\n", [event("one")]),
    "a second byte order mark is a field's name": (b"\xef\xbb\xbf\xef\xbb\xbfdata: one\n\ndata: two\n\n", [event("two")]),
    "a byte order mark later is a field's name": (b"data: one\n\n\xef\xbb\xbfdata: two\n\n", [event("one")]),
    "half a byte order mark": (b"\xef\xbbdata: one\n\ndata: two\n\n", [event("two")]),
    "nothing but half a byte order mark": (b"\xef\xbb", []),
    "comments, ids and retries": (b": ping\nid: 7\nretry: 1\ndata: one\n: pong\n\n:\n\n", [event("one")]),
    "no space after the colon": (b"data:one\n\n", [event("one")]),
    "one space belongs to the field": (b"data:  one \n\n", [event(" one ")]),
    "several lines": (b"data: one\ndata:\ndata: two\n\n", [event("one\n\ntwo")]),
    "no colon": (b"data\n\n", [event("")]),
    "empty": (b"data:\n\ndata: \n\n", [event(""), event("")]),
    "names": (
        b"event: a\ndata: 1\n\nevent:b\nevent: c\ndata: 2\n\ndata: 3\n\n",
        [event("1", "a"), event("2", "c"), event("3")],
    ),
    "a name without data is forgotten": (b"event: a\n\ndata: 1\n\n", [event("1")]),
    "a name that is no text": (b"event: \xff\ndata: 1\n\n", [event("1", "\ufffd")]),
    "cut off before its blank line": (b"data: one\n\ndata: two\n", [event("one"), event("two")]),
    "cut off in its line": (b"data: one\n\ndata: tw", [event("one"), event("tw")]),
    "cut off in CRLF": (b"data: one\r", [event("one")]),
    "cut off without data": (b"data: one\n\nevent: a", [event("one")]),
    "llama.cpp's error field": (b'error: {"code":400}\n\ndata: 1\n\n', [event('{"code":400}', "error"), event("1")]),
    "unknown fields": (b"Data: 0\ndatum: 1\ndata : 2\n data: 3\ndata: 4\n\n", [event("4")]),
    "characters that others take for line ends": (
        "data: a\u2028b\u2029c\x85d\x0be\x0cf\x1cg\x00h\n\n".encode(),
        [event("a\u2028b\u2029c\x85d\x0be\x0cf\x1cg\x00h")],
    ),
    "colons": (b"data: a:b: c\n\n", [event("a:b: c")]),
    "nothing": (b"", []),
    "blank lines": (b"\n\r\n\r\n\n", []),
}


@pytest.mark.parametrize("name", STREAMS)
def test_a_stream_is_read_alike_however_it_is_cut(name: str) -> None:
    data, expected = STREAMS[name]

    for pieces in cuttings(data):
        assert read(*pieces) == expected


@given(
    st.lists(st.sampled_from([b"data: a", b"data:", b"\r", b"\n", b"\r\n", b":", b"event: e", b"\xef\xbb\xbf", b"x"])),
    st.data(),
)
def test_cuts_change_nothing(parts: list[bytes], data: st.DataObject) -> None:
    stream = b"".join(parts)
    limit = data.draw(st.integers(1, 40))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=6)))
    pieces = [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    bytewise = [stream[i : i + 1] for i in range(len(stream))]

    assert read_until_error(*pieces, limit=limit) == read_until_error(*bytewise, limit=limit)


@given(st.lists(st.binary(max_size=50)))
def test_any_bytes_are_events_or_a_named_error(pieces: list[bytes]) -> None:
    events, _ = read_until_error(*pieces, limit=30)

    assert all(len(found.data) <= 30 for found in events)


@given(st.lists(st.text(alphabet=st.characters(exclude_characters="\r\n", exclude_categories=["Cs"]))))
def test_what_we_write_is_read_back(texts: list[str]) -> None:
    written = b"".join(encode(text.encode()) for text in texts)

    assert read(written, limit=10_000) == [event(text) for text in texts]


def test_an_event_is_written_as_one_data_line() -> None:
    assert encode(b"[DONE]") == b"data: [DONE]\n\n"


def test_an_event_at_the_limit_passes_and_one_byte_more_does_not() -> None:
    fits, too_long = b"data: " + b"x" * 94 + b"\n\n", b"data: " + b"x" * 95 + b"\n\n"

    assert read(fits, fits, limit=100) == [event("x" * 94)] * 2
    with pytest.raises(BackendError) as caught:
        read(too_long, limit=100)
    assert caught.value.code == "backend_event_too_long"
    assert "xx" not in str(caught.value)


@pytest.mark.parametrize("piece", [b"data: xxxx", b"data: x\n", b"data:\n", b": x\n", b"x", b"event: " + b"x" * 9])
def test_an_event_without_end_is_stopped(piece: bytes) -> None:
    assert read_until_error(*[piece] * 1001, limit=1000) == ([], True)


def test_the_events_before_one_that_is_too_long_are_given_first() -> None:
    decoder = SSEDecoder(limit=20)

    assert decoder.feed(b"data: one\n\ndata: " + b"x" * 50 + b"\n\ndata: three\n\n") == [event("one")]
    with pytest.raises(BackendError):
        decoder.feed(b"data: four\n\n")
    with pytest.raises(BackendError):
        decoder.flush()


def test_comments_that_blank_lines_part_add_up_to_nothing() -> None:
    decoder = SSEDecoder(limit=20)

    assert [decoder.feed(b": keep-alive\n\n") for _ in range(10)] == [[]] * 10


@pytest.mark.parametrize("size", [1, 7, 1 << 20])
@pytest.mark.parametrize("line", [b"data: " + b"x" * 200_000, b"data: x\n" * 25_000, b"data: x\r\n\r\n" * 20_000])
def test_cost_is_linear(line: bytes, size: int) -> None:
    decoder = SSEDecoder()
    started = time.process_time()
    for start in range(0, len(line), size):
        decoder.feed(line[start : start + size])
    decoder.flush()

    assert time.process_time() - started < 2


def test_a_line_feed_belongs_to_a_carriage_return_only_if_it_follows_at_once() -> None:
    decoder = SSEDecoder()

    assert [event.data for event in decoder.feed(b"data: a\r\n\rdata: b")] == [b"a"]
    assert [event.data for event in decoder.feed(b"\n\n")] == [b"b"]
