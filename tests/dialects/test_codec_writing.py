"""What the client gets of a stream: events of the backend, ends of ours, usage, failures."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, cast

import pytest

from safety_proxy.dialects.base import Dialect
from safety_proxy.dialects.chat_completions import ChatCompletions
from safety_proxy.dialects.codec import StreamCodec, StreamOptions
from safety_proxy.dialects.completions import Completions
from safety_proxy.events import Annotate, Chunk, End, Failure, Finish, Frame, Item, Offsets, Release
from safety_proxy.jsontext import as_object, write
from safety_proxy.model import JSON, Action, Annotation, Category, Decision, JSONObject
from safety_proxy.sse import ServerSentEvent

CHAT, TEXT = ChatCompletions(), Completions()
OURS: JSONObject = {"id": "ours", "created": 3, "model": "deployment"}
HEAD: JSONObject = {"id": "c-1", "object": "chat.completion.chunk", "created": 7, "model": "m"}
FILTERED = Decision(Action.FILTER, {Category.HATE: Annotation(filtered=True, severity=6)})
FAILED = Decision(Action.FAIL, error="timeout")
HATE: JSON = {"hate": {"filtered": True, "severity": "high"}}
PROMPT: JSON = [{"prompt_index": 0, "content_filter_results": {}}]


def codec(dialect: Dialect = CHAT, *, annotations: bool = False, **options: object) -> StreamCodec:
    return StreamCodec(dialect, StreamOptions(envelope=OURS, annotations=annotations, **options))  # type: ignore[arg-type]  # by name


def read(stream: StreamCodec, payload: JSON) -> Sequence[Item]:
    return stream.decode(ServerSentEvent(write(payload)))


def release(stream: StreamCodec, payload: JSON, *decisions: Decision) -> list[JSON]:
    """What is written of an event that is allowed."""
    items = [item for item in read(stream, payload) if isinstance(item, Chunk | Frame)]
    return events(b"".join(stream.encode(Release(item, decisions)) for item in items))


def events(written: bytes) -> list[JSON]:
    """Our events, as the strictest client reads them."""
    assert written.endswith(b"\n\n")
    lines = written.removesuffix(b"\n\n").split(b"\n\n")
    assert all(line.startswith(b"data: ") and b"\n" not in line and b"\r" not in line for line in lines)
    return [line[6:].decode() if line == b"data: [DONE]" else json.loads(line[6:]) for line in lines]


def event(text: str = "Hi", **fields: JSON) -> JSONObject:
    return {**HEAD, "choices": [{"index": 0, "delta": {"content": text}, "finish_reason": None}], **fields}


def test_an_allowed_event_is_written_as_it_was_read() -> None:
    payload = event("Hi\n\u2028", usage=None, strange=["x", 1.5])

    assert release(codec(), payload) == [payload]


def test_results_of_its_windows_are_written_on_the_choice() -> None:
    stream = codec(annotations=True)
    (first,) = release(
        stream, event(), Decision(Action.ALLOW, {Category.HATE: Annotation(filtered=False, severity=0)}), FILTERED
    )
    (second,) = release(stream, event())

    assert first["choices"][0]["content_filter_results"] == HATE  # type: ignore[index, call-overload]  # an event
    assert second["choices"][0]["content_filter_results"] == {}  # type: ignore[index, call-overload]  # an event


def test_results_for_the_prompt_come_once_with_the_first_choice() -> None:
    stream = codec(annotations=True, prompt_results=PROMPT)
    frame: JSONObject = {**HEAD, "choices": [], "usage": {"total_tokens": 1}}
    written = [*release(stream, frame), *release(stream, event()), *release(stream, event())]

    assert [payload.get("prompt_filter_results") for payload in written if isinstance(payload, dict)] == [None, PROMPT, None]


@pytest.mark.parametrize("first", [Finish(0, FILTERED), End(Failure("broke off"), (0,))])
def test_results_for_the_prompt_come_with_an_end_that_is_the_first_event(first: Finish | End) -> None:
    payload = events(codec(annotations=True, prompt_results=PROMPT).encode(first))[0]

    assert isinstance(payload, dict)
    assert payload["prompt_filter_results"] == PROMPT


OFFSETS = Offsets(1, 2, 3)
SAFE = Decision(Action.ALLOW, {Category.HATE: Annotation(filtered=False, severity=0)})


def test_text_whose_decisions_are_told_apart_is_written_as_it_was_read() -> None:
    stream = codec(annotations=True)
    (item,) = read(stream, event())
    assert isinstance(item, Chunk)

    assert events(stream.encode(Release(item, None))) == [event()]


@pytest.mark.parametrize(
    ("dialect", "empty"), [(CHAT, {"delta": {}}), (TEXT, {"text": ""})], ids=lambda value: getattr(value, "name", "")
)
@pytest.mark.parametrize("finish", [None, "content_filter"])
def test_a_decision_told_apart_is_an_event_with_a_choice_without_text(
    dialect: Dialect, empty: JSONObject, finish: str | None
) -> None:
    stream = codec(dialect, annotations=True, prompt_length=100)
    effect = Annotate(2, SAFE, OFFSETS) if finish is None else Finish(2, FILTERED, OFFSETS)
    (payload,) = events(stream.encode(effect))
    choice: JSON = {
        "index": 2,
        **empty,
        "logprobs": None,
        "finish_reason": finish,
        "content_filter_results": {"hate": {"filtered": False, "severity": "safe"}} if finish is None else HATE,
        "content_filter_offsets": {"check_offset": 101, "start_offset": 102, "end_offset": 103},
    }

    assert payload == {**OURS, "object": dialect.stream_object, "choices": [choice]}


def test_without_annotations_a_decision_told_apart_is_only_an_end() -> None:
    stream = codec(prompt_results=PROMPT)
    written = events(stream.encode(Finish(0, FILTERED, OFFSETS)))

    assert stream.encode(Annotate(0, SAFE, OFFSETS)) == b""
    assert "content_filter" in json.dumps(written)
    assert "content_filter_" not in json.dumps(written)


def test_azures_results_for_the_prompt_come_before_all_else_and_once() -> None:
    stream = codec(annotations=True, prompt_results=PROMPT, prompt_apart=True)

    assert events(stream.begin()) == [
        {"choices": [], "created": 0, "id": "", "model": "", "object": "", "prompt_filter_results": PROMPT}
    ]
    assert stream.begin() == b""
    assert "prompt_filter_results" not in json.dumps(release(stream, event()))


def test_a_refused_prompt_on_azures_routes_begins_with_its_results() -> None:
    stream = codec(annotations=True, prompt_results=PROMPT, prompt_apart=True)
    first, finish, done = events(stream.refuse(FILTERED, 1))

    assert (as_object(first)["choices"], as_object(first)["prompt_filter_results"], done) == ([], PROMPT, "[DONE]")
    assert "prompt_filter_results" not in as_object(finish)


@pytest.mark.parametrize(
    "options",
    [
        {"prompt_results": PROMPT},
        {"prompt_apart": True},
        {"prompt_results": PROMPT, "prompt_apart": True, "annotations": False},
    ],
)
def test_elsewhere_nothing_stands_before_the_first_event(options: dict[str, Any]) -> None:
    assert codec(**{"annotations": True, **options}).begin() == b""


def test_without_annotations_there_are_no_results() -> None:
    stream = codec(prompt_results=PROMPT)
    written = [*release(stream, event(), FILTERED), *events(stream.encode(Finish(0, FILTERED)) + stream.encode(End()))]

    assert "filter_results" not in json.dumps(written)


@pytest.mark.parametrize(
    ("dialect", "empty"), [(CHAT, {"delta": {}}), (TEXT, {"text": ""})], ids=lambda value: getattr(value, "name", "")
)
@pytest.mark.parametrize("decision", [FILTERED, FAILED])
def test_a_choice_that_we_end_has_no_text_and_says_why(dialect: Dialect, empty: JSONObject, decision: Decision) -> None:
    stream = codec(dialect, annotations=True)
    (payload,) = events(stream.encode(Finish(2, decision)))
    assert isinstance(payload, dict)
    (choice,) = cast("list[JSONObject]", payload["choices"])
    results = as_object(choice.pop("content_filter_results"))

    assert payload == {
        **OURS,
        "object": dialect.stream_object,
        "choices": [{"index": 2, **empty, "logprobs": None, "finish_reason": decision.action.value}],
    }
    assert list(results) == (["hate"] if decision is FILTERED else ["error"])


def test_our_own_events_have_the_envelope_of_the_last_one_of_the_backend() -> None:
    stream = codec()
    read(stream, event(id="two words", model="x" * 200))
    read(stream, event())
    read(stream, event(id="", model=None, created="7"))
    (payload,) = events(stream.heartbeat(1))

    assert payload == {**HEAD, "choices": [{"index": 1, "delta": {}, "logprobs": None, "finish_reason": None}]}


def test_an_envelope_of_odd_shape_is_not_taken_over() -> None:
    stream = codec()
    read(stream, event(id="two words", model=["m"], created=1.5))

    assert {key: value for key, value in events(stream.heartbeat(0))[0].items() if key in OURS} == OURS  # type: ignore[union-attr]  # an event


def test_the_stream_ends_in_done() -> None:
    assert codec().encode(End()) == b"data: [DONE]\n\n"


def test_a_failure_tells_of_itself_and_ends_every_open_choice() -> None:
    stream = codec()
    read(stream, event())
    payload, done = events(stream.encode(End(Failure("broke off", "backend_incomplete"), (0, 2))))

    assert payload == {
        **HEAD,
        "choices": [{"index": i, "delta": {}, "logprobs": None, "finish_reason": "error"} for i in (0, 2)],
        "error": {"message": "broke off", "type": "server_error", "param": None, "code": "backend_incomplete"},
    }
    assert done == "[DONE]"


def test_a_failure_after_all_choices_has_ended_none() -> None:
    payload, _ = events(codec(annotations=True, prompt_results=PROMPT).encode(End(Failure("broke off"))))

    assert isinstance(payload, dict)
    assert (payload["choices"], "prompt_filter_results" in payload) == ([], False)


def test_a_refused_prompt_is_a_stream_of_ends() -> None:
    stream = codec(TEXT, annotations=True, prompt_results=PROMPT)
    *choices, done = events(stream.refuse(FILTERED, 3))

    assert [payload["choices"][0]["index"] for payload in choices] == [0, 1, 2]  # type: ignore[index, call-overload]  # events
    assert {payload["choices"][0]["finish_reason"] for payload in choices} == {"content_filter"}  # type: ignore[index, call-overload]  # events
    assert done == "[DONE]"


# ---------------------------------------------------------------------------------------------------------------- usage


def ended(stream: StreamCodec) -> list[JSON]:
    """The usage that is told after a stop, if any."""
    *before, done = events(stream.encode(Finish(0, FILTERED)) + stream.encode(End()))
    assert done == "[DONE]"
    return before[1:]


def test_usage_after_a_stop_is_the_estimate_if_the_backend_told_none() -> None:
    stream = codec(include_usage=True, prompt_length=10)
    read(stream, event("12345"))
    read(stream, event("6789"))
    usage: JSON = {"prompt_tokens": 3, "completion_tokens": 3, "total_tokens": 6}

    assert ended(stream) == [{**HEAD, "choices": [], "usage": usage}]


def test_usage_after_a_stop_is_the_backends_figures_where_it_told_them() -> None:
    stream = codec(include_usage=True)
    read(stream, event(usage={"prompt_tokens": 1, "completion_tokens": 1}))
    read(stream, event(usage={"prompt_tokens": 1, "completion_tokens": 2, "note": "what must not be said", "drown them": 1}))

    assert ended(stream) == [{**HEAD, "choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 2}}]


def test_there_is_no_usage_after_a_stop_if_nobody_asked_or_it_was_shown() -> None:
    shown = codec(include_usage=True)
    frame: JSONObject = {**HEAD, "choices": [], "usage": {"total_tokens": 1}}

    assert ended(codec()) == []
    assert release(shown, frame) == [frame]
    assert ended(shown) == []


def test_there_is_no_usage_of_ours_if_the_backend_ended_by_itself() -> None:
    assert events(codec(include_usage=True).encode(End())) == ["[DONE]"]


def test_a_refused_stream_has_usage_if_it_was_asked_for() -> None:
    *_, usage, _ = events(codec(include_usage=True, prompt_length=8).refuse(FILTERED, 1))

    assert usage["usage"] == {"prompt_tokens": 2, "completion_tokens": 0, "total_tokens": 2}  # type: ignore[index, call-overload]  # an event
