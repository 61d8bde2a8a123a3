"""What of a choice is text, what says nothing, and what nobody knows."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safety_proxy.dialects.reading import Echo, Reading, figures
from safety_proxy.events import Chunk, Segment
from safety_proxy.model import JSON


def texts(value: JSON) -> tuple[list[str], list[str]]:
    """The segments and the unknown strings of a text field."""
    reading = Reading()
    reading.text("c", value)
    assert {segment.channel for segment in reading.segments} <= {"c"}
    assert [segment for segment in reading.segments if segment.whole] == []
    return [segment.text for segment in reading.segments], reading.strings


@pytest.mark.parametrize(
    ("value", "segments", "unknown"),
    [
        ("Hi", ["Hi"], []),
        ("", [], []),
        (None, [], []),
        (True, [], []),
        (5, ["5"], []),
        (0.5, ["0.5"], []),
        (["a", ["b"]], ["a", "b"], []),
        ({"type": "text", "text": "a"}, ["a"], []),
        (
            [{"type": "text", "text": "a"}, {"refusal": "b"}, {"thinking": [{"text": "c"}]}, {"summary": "d"}],
            ["a", "b", "c", "d"],
            [],
        ),
        ([{"type": "dream", "text": "a", "x y": 5, "link": ["z"]}], ["a"], ["dream", "x y", "link", "z"]),
    ],
)
def test_text_comes_as_string_part_or_array_of_parts(value: JSON, segments: list[str], unknown: list[str]) -> None:
    assert texts(value) == (segments, unknown)


def test_stray_text_is_a_channel_named_after_its_field() -> None:
    reading = Reading()
    reading.stray("message", {"role": "two words", "content": "a", "strange key": "b", "tool": {"c": "d"}})
    reading.stray("text", "e")

    assert reading.segments == [
        Segment("message", "a"),
        Segment("message", "b"),
        Segment("text", "e"),
    ]
    assert reading.strings == ["two words", "strange key", "c", "d"]


def echoed(*pieces: tuple[str, JSON | bytes]) -> list[list[str]]:
    """What is new in an echo, event by event of (text, echo)."""
    echoes: dict[str, Echo] = {}
    news = []
    for text, echo in pieces:
        reading = Reading(echoes)
        reading.text("content", text)
        reading.echo("echo", echo)
        news.append([segment.text for segment in reading.segments if segment.channel == "echo"])
    return news


def test_an_echo_says_nothing_new() -> None:
    assert echoed(("Hi", "Hi"), ("", ""), ("you", [{"text": "yo"}, {"text": "u"}]), ("!", None), ("?", b"?")) == [[]] * 5


def test_an_echo_that_says_something_else_is_a_channel_that_begins_with_what_it_said_before() -> None:
    assert echoed(("Hi", "Hi"), ("you", "all"), ("you", "you")) == [[], ["Hiall"], ["you"]]
    assert echoed(("x" * 300, "x" * 300), ("a", "b")) == [[], ["x" * 200 + "b"]]
    assert echoed(("Hi", "Hi there")) == [["Hi there"]]


def test_an_echo_in_bytes_may_cut_characters() -> None:
    assert echoed(("", "杀".encode()[:1]), ("杀", "杀".encode()[1:])) == [[], []]
    assert echoed(("a", "杀".encode()[:1]), ("b", "杀".encode()[1:])) == [[], ["杀"]]


def test_unknown_strings_of_an_echo_are_judged() -> None:
    reading = Reading()
    reading.echo("echo", [{"text": "Hi", "strange": 1}])

    assert reading.strings == ["strange"]


@pytest.mark.parametrize(
    ("value", "text"), [('{"a": 1}', '{"a": 1}'), ("", ""), ({"a": ["b", 1]}, "a\nb"), (None, ""), (5, "")]
)
def test_parts_of_calls_are_whole(value: JSON, text: str) -> None:
    reading = Reading()
    reading.call("tool_call:0.arguments", value)

    assert reading.segments == [Segment("tool_call:0.arguments", text, whole=True)]


def test_an_event_can_be_made_to_wait_for_the_end() -> None:
    reading = Reading()
    reading.hold()

    assert [(segment.text, segment.whole) for segment in reading.segments] == [("", True)]


@pytest.mark.parametrize(
    ("value", "unknown"),
    [
        ("gpt-4o", []),
        ("", []),
        ("two words", ["two words"]),
        (["odd one"], ["odd one"]),
        ({"a b": 1}, ["a b"]),
        (5, []),
        (None, []),
    ],
)
def test_metadata_passes_in_its_shape_and_is_unknown_in_any_other(value: JSON, unknown: list[str]) -> None:
    reading = Reading()
    reading.metadata(value)

    assert reading.strings == unknown


@pytest.mark.parametrize(
    ("value", "finished", "unknown"),
    [
        (None, False, []),
        ("", False, []),
        ("stop", True, []),
        ("content_filter", True, []),
        ("tool_calls", True, []),
        ("kill", True, ["kill"]),
        ({"type": "stop", "why": "kill"}, True, ["why", "kill"]),
    ],
)
def test_a_finish_reason_that_nobody_knows_is_judged(value: JSON, *, finished: bool, unknown: list[str]) -> None:
    reading = Reading()
    reading.finish(value)

    assert (reading.finished, reading.strings) == (finished, unknown)


def test_unknown_fields_are_judged_with_their_keys_and_without_the_words_of_the_format() -> None:
    reading = Reading()
    reading.other("strange", {"content": ["a", 1, None, True, 2.5, {"b c": "stop"}]})
    reading.other("usage", 5)

    assert reading.strings == ["strange", "a", "b c"]


def test_what_was_said_is_known_channel_by_channel() -> None:
    reading = Reading()
    reading.text("reasoning", "a")
    reading.text("content", ["b", "c"])
    reading.text("reasoning", "d")

    assert reading.said() == {"ad", "bc"}
    assert Reading().said() == frozenset()


def test_a_chunk_carries_all_that_was_read() -> None:
    reading = Reading()
    reading.text("content", "a")
    reading.other("x", "y")
    reading.alternatives.append("z")
    reading.finish("stop")
    payload: dict[str, JSON] = {"id": "1"}

    assert reading.chunk(2, payload) == Chunk(2, payload, (Segment("content", "a"),), True, ("x", "y"), ("z",))
    assert Reading().chunk(0, {}) == Chunk(0, {})


def test_figures_are_the_numbers_under_known_names() -> None:
    usage: JSON = {
        "prompt_tokens": 5,
        "cost": 0.5,
        "total_tokens": "nine",
        "completion_tokens": True,
        "kill": 1,
        "prompt_tokens_details": {"cached_tokens": 1, "note": "kill", "audio_tokens": None},
        "timings": [1],
    }

    assert figures(usage) == {"prompt_tokens": 5, "cost": 0.5, "prompt_tokens_details": {"cached_tokens": 1}}
    assert figures("kill") == {}


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.sampled_from(["text", "type"]), inner),
)


@given(json_values, st.text(min_size=1).filter(lambda text: not text.isspace()))
def test_no_string_is_passed_by(value: JSON, word: str) -> None:
    word = f"<{word}>"
    places: list[JSON] = [[value, word], {word: value}, {"text": [value, word]}, {"odd": {"odder": word}}]
    for place in places:
        segments, unknown = texts(place)
        assert word in [*segments, *unknown]
