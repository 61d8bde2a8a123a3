"""The backend's events, read: choices taken apart, frames, failures. What we write has a file of its own."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from safety_proxy.dialects.base import Dialect
from safety_proxy.dialects.chat_completions import ChatCompletions
from safety_proxy.dialects.codec import StreamCodec, StreamOptions, items_of_answer
from safety_proxy.dialects.completions import Completions
from safety_proxy.errors import BackendError
from safety_proxy.events import Chunk, Closed, Failure, Frame, Item, Segment
from safety_proxy.jsontext import write
from safety_proxy.model import JSON, JSONObject
from safety_proxy.sse import ServerSentEvent, SSEDecoder

CHAT, TEXT = ChatCompletions(), Completions()
HEAD: JSONObject = {"id": "c-1", "object": "chat.completion.chunk", "created": 7, "model": "m"}


def codec(dialect: Dialect = CHAT, **options: object) -> StreamCodec:
    return StreamCodec(dialect, StreamOptions(**options))  # type: ignore[arg-type]  # by name


def decode(payload: JSON | bytes, name: str = "", dialect: Dialect = CHAT) -> Sequence[Item]:
    data = payload if isinstance(payload, bytes) else write(payload)
    return codec(dialect).decode(ServerSentEvent(data, name))


def failure(items: Sequence[Item]) -> Failure:
    (closed,) = items
    assert isinstance(closed, Closed)
    assert closed.failure is not None
    return closed.failure


def choice(text: str = "Hi", **fields: JSON) -> JSONObject:
    return {"index": 0, "delta": {"content": text}, "finish_reason": None, **fields}


def test_an_event_with_one_choice_is_a_chunk_with_all_it_has() -> None:
    payload: JSONObject = {**HEAD, "choices": [choice(strange="x y")], "usage": None, "odd": "z"}

    assert decode(payload) == [Chunk(0, payload, (Segment("content", "Hi"),), strings=("strange", "x y", "odd", "z"))]


def test_usage_with_a_choice_that_has_ended_is_a_frame_without_it() -> None:
    """So LiteLLM's proxy sends it; as a chunk of a choice that is over it would be lost."""
    stream = codec()
    stream.read_event({**HEAD, "choices": [choice(finish_reason="stop")]})
    late: JSONObject = {**HEAD, "choices": [{"index": 0, "delta": {}}], "usage": {"total_tokens": 5}, "odd": "x y"}

    assert stream.read_event(late) == (Frame({**late, "choices": []}, ("odd", "x y")),)


@pytest.mark.parametrize(
    ("index", "beside"),
    [(1, {"usage": {"total_tokens": 5}}), (0, {"usage": None}), (0, {}), ("?", {"usage": {"total_tokens": 5}})],
)
def test_an_event_of_a_choice_that_goes_on_or_with_nothing_beside_it_is_no_frame(index: JSON, beside: JSONObject) -> None:
    stream = codec()
    stream.read_event({**HEAD, "choices": [choice(finish_reason="stop")]})

    (item,) = stream.read_event({**HEAD, "choices": [choice(index=index)], **beside})
    assert not isinstance(item, Frame)


def test_an_event_with_several_choices_is_taken_apart_and_what_is_beside_them_goes_with_the_last() -> None:
    payload: JSONObject = {
        **HEAD,
        "system_fingerprint": "fp",
        "choices": [choice("a"), choice("b", index=1, finish_reason="stop"), choice("c", index=0)],
        "usage": {"total_tokens": 5},
        "odd": "z",
    }
    items = decode(payload)

    assert [
        (item.choice, item.segments[0].text, item.finished, item.strings) for item in items if isinstance(item, Chunk)
    ] == [
        (0, "a", False, ()),
        (1, "b", True, ()),
        (0, "c", False, ("odd", "z")),
    ]
    first, _, last = (item.payload for item in items if isinstance(item, Chunk))
    assert first == {**HEAD, "system_fingerprint": "fp", "choices": [choice("a")]}
    assert last == {**payload, "choices": [choice("c")]}


def test_an_envelope_of_odd_shape_is_judged_with_every_choice() -> None:
    items = decode({**HEAD, "model": "two words", "choices": [choice(), choice(index=1)]})

    assert [item.strings for item in items if isinstance(item, Chunk)] == [("two words",), ("two words",)]


@pytest.mark.parametrize("fields", [{}, {"index": None}, {"index": "0"}, {"index": 0.0}])
def test_a_missing_index_is_0_and_is_written_so(fields: JSONObject) -> None:
    (chunk,) = decode({"choices": [{"delta": {}, **fields}]})

    assert isinstance(chunk, Chunk)
    assert (chunk.choice, chunk.payload) == (0, {"choices": [{"delta": {}, "index": 0}]})


@pytest.mark.parametrize(
    "broken", [{"index": True}, {"index": -1}, {"index": "x"}, {"index": 1.5}, {"index": []}, "Hi", None, 5]
)
def test_a_choice_that_cannot_be_read_closes_the_stream_behind_those_before_it(broken: JSON) -> None:
    first, closed = decode({"choices": [choice(), broken, choice()]})

    assert isinstance(first, Chunk)
    assert failure([closed]).code == "backend_invalid_answer"


@pytest.mark.parametrize("choices", ["Hi", 5, {"index": 0, "delta": {"content": "Hi"}}, True])
def test_choices_that_are_no_array_close_the_stream(choices: JSON) -> None:
    assert failure(decode({"choices": choices})).code == "backend_invalid_answer"


@pytest.mark.parametrize(
    ("dialect", "sent", "written"),
    [
        (CHAT, {"finish_reason": "stop"}, {"finish_reason": "stop", "index": 0, "delta": {}}),
        (CHAT, {"delta": None}, {"delta": {}, "index": 0}),
        (CHAT, {"text": "Hi"}, {"text": "Hi", "index": 0, "delta": {}}),
        (TEXT, {"finish_reason": "stop"}, {"finish_reason": "stop", "index": 0, "text": ""}),
        (TEXT, {"text": None}, {"text": "", "index": 0}),
    ],
)
def test_every_choice_has_its_delta_or_text(dialect: Dialect, sent: JSON, written: JSON) -> None:
    (chunk,) = decode({"choices": [sent]}, dialect=dialect)

    assert isinstance(chunk, Chunk)
    assert chunk.payload == {"choices": [written]}


@pytest.mark.parametrize("choices", [[], None, False, ""])
def test_an_event_without_choices_is_a_frame_with_an_empty_array_of_them(choices: JSON) -> None:
    payload: JSONObject = {**HEAD, "usage": {"total_tokens": 5, "note": "x y"}}

    assert decode({**payload, "choices": choices}) == (Frame({**payload, "choices": []}, ("note", "x y")),)
    assert decode(payload) == (Frame({**payload, "choices": []}, ("note", "x y")),)


def test_padding_is_dropped() -> None:
    (chunk,) = decode({**HEAD, "choices": [choice()], "obfuscation": "x9 Q"})

    assert isinstance(chunk, Chunk)
    assert chunk.payload == {**HEAD, "choices": [choice()]}
    assert chunk.strings == ()


@pytest.mark.parametrize("data", [b"[DONE]", b" [DONE]", b"[DONE] "])
def test_done_is_the_end(data: bytes) -> None:
    assert decode(data) == (Closed(complete=True),)


@pytest.mark.parametrize("data", [b"", b" ", b"\n"])
def test_an_event_without_data_says_nothing(data: bytes) -> None:
    assert decode(data) == ()


ERRORS = {
    "vLLM": b'data: {"error": {"message": "secret", "type": "BadRequestError", "param": null, "code": 400}}\n\n',
    "vLLM before it nested errors": b'data: {"object": "error", "message": "secret", "code": 400}\n\n',
    "llama.cpp": b'error: {"code": 400, "message": "secret", "type": "invalid_request_error"}\n\n',
    "llama.cpp later": b'data: {"error": {"code": 400, "message": "secret"}}\n\n',
    "TGI": b'data: {"error": {"message": "secret", "http_status_code": 500}}\n\n',
    "TGI, older": b'data: {"error": "secret", "error_type": "generation"}\n\n',
    "OpenRouter": b'data: {"error": {"code": 502, "message": "secret"}, "choices": [{"delta": {"content": "secret"}}]}\n\n',
    "LM Studio": b'event: error\ndata: {"error": {"message": "secret"}, "message": "secret"}\n\n',
    "an event of that name": b'event: error\ndata: {"detail": "secret"}\n\n',
}


@pytest.mark.parametrize("name", ERRORS)
def test_an_error_of_the_backend_closes_the_stream_and_is_not_repeated(name: str) -> None:
    (event,) = SSEDecoder().feed(ERRORS[name])
    told = failure(codec().decode(event))

    assert told.code == "backend_error"
    assert "secret" not in told.message


@pytest.mark.parametrize(
    "data", [b"secret", b"{", b"[NaN]", b"[" * 500, b'{"a": 1e999}', b"[DONE]x", b"null", b"[]", b'"secret"', b"5"]
)
def test_what_is_no_object_closes_the_stream(data: bytes) -> None:
    told = failure(decode(data))

    assert told.code == "backend_invalid_answer"
    assert "secret" not in told.message


def test_halves_of_characters_do_not_close_the_stream() -> None:
    (chunk,) = decode(b'{"choices": [{"index": 0, "delta": {"content": "\xe6\x9d \\ud83d"}}]}')

    assert isinstance(chunk, Chunk)
    assert chunk.segments == (Segment("content", "\ufffd \ufffd"),)


def test_tokens_are_followed_through_the_events_of_their_choice() -> None:
    stream = codec()
    seen = ""
    for index, text, token in [(0, "dro", "dro"), (1, "...", "???"), (0, "Hi", "wn"), (0, " it", " it")]:
        event: JSON = {"choices": [choice(text, index=index, logprobs={"content": [{"token": token}]})]}
        (chunk,) = stream.decode(ServerSentEvent(write(event)))
        assert isinstance(chunk, Chunk)
        seen += "".join(segment.text for segment in chunk.segments if segment.channel == "logprobs" and index == 0)

    assert seen == "drown it"


# ---------------------------------------------------------------------------------------- an answer in place of a stream

FUNCTION: JSONObject = {"name": "f", "arguments": "{}"}
CALL: JSONObject = {"id": "call_1", "type": "function", "function": FUNCTION}
ANSWER: JSONObject = {
    "id": "c-1",
    "object": "chat.completion",
    "created": 7,
    "model": "m",
    "choices": [
        {"index": 1, "message": {"role": "assistant", "content": "Hi"}, "logprobs": None, "finish_reason": "stop"},
        {"index": 0, "message": {"role": "assistant", "content": None, "tool_calls": [CALL]}, "finish_reason": "tool_calls"},
    ],
    "usage": {"total_tokens": 5},
    "strange": "x y",
}
CALLED: JSONObject = {"index": 0, **CALL}
CALLS: JSON = [CALLED]
CALL_DELTA: JSONObject = {"role": "assistant", "content": None, "tool_calls": CALLS}
DELTAS: list[JSON] = [
    {"index": 1, "delta": {"role": "assistant", "content": "Hi"}, "logprobs": None, "finish_reason": "stop"},
    {"index": 0, "delta": CALL_DELTA, "finish_reason": "tool_calls"},
]


def test_an_answer_in_place_of_a_stream_becomes_one_with_usage_apart_if_it_was_asked_for() -> None:
    rest: JSONObject = {"usage": {"total_tokens": 5}, "strange": "x y"}
    one, other, frame, closed = items_of_answer(CHAT, codec(include_usage=True), ANSWER)

    assert [item.payload for item in (one, other) if isinstance(item, Chunk)] == [
        {**HEAD, "choices": [delta]} for delta in DELTAS
    ]
    assert [item.finished for item in (one, other) if isinstance(item, Chunk)] == [True, True]
    assert frame == Frame({**HEAD, "choices": [], **rest}, ("strange", "x y"))
    assert closed == Closed(complete=True)


def test_an_answer_in_place_of_a_stream_has_its_usage_with_the_last_choice_if_nobody_asked() -> None:
    _, other, closed = items_of_answer(CHAT, codec(), ANSWER)

    assert isinstance(other, Chunk)
    assert other.payload == {**HEAD, "choices": [DELTAS[1]], "usage": {"total_tokens": 5}, "strange": "x y"}
    assert closed == Closed(complete=True)


def test_a_text_answer_in_place_of_a_stream() -> None:
    sent: JSONObject = {"text": "Hi", "finish_reason": "stop"}
    chunk, _ = items_of_answer(TEXT, codec(TEXT), {"id": "1", "object": "text_completion", "choices": [sent]})

    assert isinstance(chunk, Chunk)
    assert chunk.payload == {"id": "1", "object": "text_completion", "choices": [{**sent, "index": 0}]}
    assert chunk.segments == (Segment("text", "Hi"),)


def test_an_error_in_place_of_a_stream_is_none() -> None:
    with pytest.raises(BackendError):
        items_of_answer(CHAT, codec(), {"error": {"message": "secret"}})
