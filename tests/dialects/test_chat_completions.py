"""Every channel of a chat's answer is read. Requests have a file of their own, test_chat_requests."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safety_proxy.dialects.chat_completions import ChatCompletions
from safety_proxy.dialects.reading import Reading
from safety_proxy.dialects.vocabulary import METADATA_SHAPE, VOCABULARY
from safety_proxy.events import Segment
from safety_proxy.jsontext import strings
from safety_proxy.model import JSON, JSONObject

DIALECT = ChatCompletions()
NAMES = frozenset(
    {
        "content",
        "refusal",
        "reasoning",
        "role",
        "tool_calls",
        "function_call",
        "function",
        "custom",
        "name",
        "arguments",
        "input",
    }
    | {
        "id",
        "type",
        "index",
        "audio",
        "transcript",
        "data",
        "text",
        "thinking",
        "annotations",
        "delta",
        "message",
        "finish_reason",
    }
    | {"logprobs", "token", "tokens", "bytes", "top_logprobs", "logprob"}
)


def read(delta: JSON, **fields: JSON) -> Reading:
    return DIALECT.read_choice({"index": 0, "delta": delta, **fields}, "delta")


@pytest.mark.parametrize("field", ["content", "refusal", "reasoning_content", "reasoning", "thinking"])
def test_text_fields_are_channels(field: str) -> None:
    reading = read({field: "Hi"})

    assert (reading.segments, reading.strings) == ([Segment(field, "Hi")], [])
    assert read({field: None}).segments == read({field: ""}).segments == []
    assert read({field: [{"type": "text", "text": "Hi"}]}).segments == [Segment(field, "Hi")]


def test_fields_are_read_in_the_order_in_which_a_model_writes_them() -> None:
    reading = read({"refusal": "d", "content": "c", "reasoning": "b", "role": "assistant", "reasoning_content": "a"})

    assert "".join(segment.text for segment in reading.segments) == "abcd"


def test_details_of_reasoning_are_a_channel() -> None:
    details: JSON = [{"type": "reasoning.text", "text": "a", "index": 0}, {"type": "reasoning.summary", "summary": "b"}]

    assert read({"reasoning_details": details}).segments == [Segment("reasoning_details", "ab")]


def test_reasoning_that_is_told_under_several_names_is_read_once() -> None:
    blocks: JSON = [{"type": "thinking", "thinking": "a"}]

    assert read({"reasoning_content": "a", "reasoning": "a", "thinking_blocks": blocks}).segments == [
        Segment("reasoning_content", "a")
    ]
    assert read({"reasoning_content": "a", "reasoning": "b"}).segments == [
        Segment("reasoning_content", "a"),
        Segment("reasoning", "b"),
    ]


def test_tool_calls_are_whole_texts_by_their_index() -> None:
    calls: list[JSON] = [
        {"index": 1, "id": "call_1", "type": "function", "function": {"name": "f", "arguments": ""}},
        {"index": 0, "function": {"arguments": '{"a"'}},
        {"id": "call_2", "type": "custom", "custom": {"name": "g", "input": "x"}},
    ]
    reading = read({"role": "assistant", "content": None, "tool_calls": calls})

    assert [(segment.channel, segment.text) for segment in reading.segments if segment.channel != "held"] == [
        ("tool_call:1.name", "f"),
        ("tool_call:1.arguments", ""),
        ("tool_call:0.arguments", '{"a"'),
        ("tool_call:2.name", "g"),
        ("tool_call:2.input", "x"),
    ]
    assert all(segment.whole for segment in reading.segments)
    assert reading.strings == []


def test_a_tool_call_waits_for_the_end_even_before_it_has_a_name() -> None:
    assert [
        segment.whole for segment in read({"tool_calls": [{"index": 0, "id": "call_1", "type": "function"}]}).segments
    ] == [True]


def test_arguments_that_are_an_object_are_laid_out() -> None:
    (segment,) = read({"function_call": {"arguments": {"a": ["b c"]}}}).segments

    assert segment == Segment("function_call.arguments", "a\nb c", whole=True)


def test_the_older_function_call_is_whole() -> None:
    assert read({"function_call": {"name": "f", "arguments": "{}", "strange": "x y"}}).segments == [
        Segment("function_call.name", "f", whole=True),
        Segment("function_call.arguments", "{}", whole=True),
    ]


def test_speech_is_judged_by_its_transcript_and_the_sound_waits() -> None:
    reading = read({"audio": {"id": "audio_1", "data": "AAAA", "transcript": "Hi", "expires_at": 5, "strange": "x y"}})

    assert [(segment.text, segment.whole) for segment in reading.segments] == [("", True), ("Hi", False)]
    assert reading.strings == ["strange", "x y"]
    assert read({"audio": {"id": "two words", "data": None}}).strings == ["two words"]


@pytest.mark.parametrize(
    ("delta", "unknown"),
    [
        ({"role": "assistant"}, []),
        ({"role": None}, []),
        ({"role": "a pirate"}, ["a pirate"]),
        ({"annotations": [{"type": "url_citation", "url_citation": {"title": "x y", "strange": 1}}]}, ["x y", "strange"]),
        ({"tool_calls": ["x y"]}, ["x y"]),
        ({"tool_calls": "x y"}, ["x y"]),
        ({"tool_calls": {"function": {"name": "x y"}}}, ["x y"]),
        ({"tool_calls": [{"index": "x y"}]}, ["x y"]),
        ({"tool_calls": [{"id": "x y", "type": None}]}, ["x y"]),
        ({"tool_calls": [{"function": "x y"}]}, ["x y"]),
        ({"tool_calls": [{"function": {"x y": 1}}]}, ["x y"]),
        ({"function_call": "x y"}, ["x y"]),
        ({"audio": "x y"}, ["x y"]),
        ({"audio": {"data": ["x y"]}}, ["x y"]),
        ({"x y": 5}, ["x y"]),
    ],
)
def test_what_nobody_knows_is_judged_by_itself(delta: JSON, unknown: list[str]) -> None:
    assert read(delta).strings == unknown


def test_fields_of_a_choice_that_nobody_knows_are_judged_too() -> None:
    reading = read({}, strange="x y", token_ids=[1, 2], stop_reason=128009, finish_reason="stop")

    assert (reading.strings, reading.finished, reading.segments) == (["strange", "x y"], True, [])


@pytest.mark.parametrize(
    ("choice", "segments"),
    [
        ({"delta": "Hi"}, [Segment("content", "Hi")]),
        ({"delta": ["Hi"]}, [Segment("content", "Hi")]),
        ({"text": "Hi"}, [Segment("text", "Hi")]),
        ({"delta": {}, "message": {"content": "Hi"}}, [Segment("message", "Hi")]),
        ({"delta": None, "message": "Hi"}, [Segment("message", "Hi")]),
    ],
)
def test_text_of_another_format_is_a_channel_all_the_same(choice: JSONObject, segments: list[Segment]) -> None:
    assert DIALECT.read_choice(choice, "delta").segments == segments


def test_logprobs_are_compared_with_the_text_wherever_they_stand() -> None:
    logprobs: JSON = {"content": [{"token": "Hi", "logprob": -0.5, "bytes": [72, 105], "top_logprobs": [{"token": "Ho"}]}]}
    choice: JSONObject = {"logprobs": logprobs, "delta": {"content": "Hi"}}
    reading = DIALECT.read_choice(choice, "delta")

    assert (reading.segments, reading.alternatives) == ([Segment("content", "Hi")], ["Ho"])
    assert [s.text for s in read({"content": "Ha"}, logprobs=logprobs).segments] == ["Ha", "Hi"]


def test_a_choice_without_text() -> None:
    assert DIALECT.empty_choice(1, "delta", None) == {"index": 1, "delta": {}, "logprobs": None, "finish_reason": None}
    assert DIALECT.empty_choice(1, "message", "content_filter") == {
        "index": 1,
        "message": {"role": "assistant", "content": None},
        "logprobs": None,
        "finish_reason": "content_filter",
    }


def test_a_message_becomes_a_delta_with_the_indices_of_its_calls() -> None:
    message: JSON = {"role": "assistant", "content": None, "tool_calls": [{"id": "a"}, {"id": "b", "index": 7}, "odd"]}

    assert DIALECT.as_delta({"index": 0, "message": message, "finish_reason": "tool_calls", "logprobs": None}) == {
        "delta": {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"index": 0, "id": "a"}, {"index": 7, "id": "b"}, {"index": 2}],
        },
        "index": 0,
        "finish_reason": "tool_calls",
        "logprobs": None,
    }
    assert DIALECT.as_delta({"message": "odd"}) == {"delta": {}}


names = st.sampled_from([*sorted(NAMES), "odd", "reasoning_details"])
words = st.sampled_from(["Hi", "x y", "drown the kittens", "assistant", "stop", "", " "])
json_values: st.SearchStrategy[JSON] = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 300) | words,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(names | words, inner, max_size=5),
    max_leaves=20,
)


@given(st.dictionaries(names, json_values, max_size=6), st.dictionaries(names, json_values, max_size=4))
def test_every_string_is_read_or_says_nothing(delta: JSONObject, choice: JSONObject) -> None:
    choice = {**choice, "delta": delta, "index": 0}
    reading = DIALECT.read_choice(choice, "delta")
    read_texts = "\n".join([*(segment.text for segment in reading.segments), *reading.strings, *reading.alternatives])

    audio = delta.get("audio")
    sound = audio.get("data") if isinstance(audio, dict) else None
    for text in strings(choice):
        silent = text in VOCABULARY or METADATA_SHAPE.fullmatch(text) or text.isspace() or text == sound
        assert silent or text in read_texts
