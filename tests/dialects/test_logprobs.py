"""Tokens in step with the text say nothing new; all others are read, in whatever form a client could read them."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safety_proxy.dialects.logprobs import read_logprobs
from safety_proxy.dialects.reading import Echo, Reading
from safety_proxy.model import JSON, JSONObject

PHRASE = "drown the kittens"


def entry(token: JSON, **fields: JSON) -> JSONObject:
    return {"token": token, "logprob": -0.5, "bytes": list(str(token).encode()), "top_logprobs": [], **fields}


def read(logprobs: JSON, text: str = "Hi", before: dict[str, Echo] | None = None) -> Reading:
    """The logprobs of an event with *text*, without the text."""
    reading = Reading(before)
    reading.text("content", text)
    read_logprobs(reading, logprobs)
    reading.segments = [segment for segment in reading.segments if segment.channel != "content"]
    return reading


def channels(reading: Reading) -> dict[str, str]:
    found: dict[str, str] = {}
    for segment in reading.segments:
        found[segment.channel] = found.get(segment.channel, "") + segment.text
    return found


def silent(reading: Reading) -> bool:
    return not (reading.segments or reading.strings or reading.alternatives)


@pytest.mark.parametrize(
    "logprobs",
    [
        {"content": [entry("H"), entry("i")], "refusal": None},
        {"content": None, "refusal": [entry("Hi")]},
        {"content": [entry("Hi", bytes=None)]},
        {"content": [entry("Hi", rank=1, top_logprobs=[entry("Hi", top_logprobs=None)])]},
        {"content": [entry("Hi", bytes=[72.0, 105.0])]},
        {"content": [entry("token_id:17"), entry("token_id:4", top_logprobs=[entry("token_id:4"), entry("token_id:5")])]},
        {"content": []},
        {"tokens": ["H", "i"], "token_logprobs": [None, -0.1], "top_logprobs": [None, {"i": -0.1}], "text_offset": [0, 1]},
        {"tokens": ["Hi"], "token_logprobs": [-0.1], "top_logprobs": None, "text_offsets": [0]},
        {},
    ],
)
def test_tokens_in_step_with_the_text_say_nothing_new(logprobs: JSON) -> None:
    assert silent(read(logprobs))


def test_tokens_of_reasoning_are_in_step_with_the_reasoning() -> None:
    reading = Reading()
    reading.text("reasoning", "Hm")
    read_logprobs(reading, {"content": [entry("Hm")]})

    assert len(reading.segments) == 1


@pytest.mark.parametrize(
    ("logprobs", "expected"),
    [
        ({"content": [entry("dro"), entry("wn")]}, {"logprobs": "drown"}),
        ({"content": [entry("Hi", bytes=list(b"drown"))]}, {"logprobs.bytes": "drown"}),
        ({"content": [entry("token_id:17", bytes=list(b"drown"))]}, {"logprobs.bytes": "drown"}),
        ({"content": [entry("drown", bytes=None)]}, {"logprobs": "drown"}),
        ({"tokens": ["dro", "wn"]}, {"logprobs": "drown"}),
        ({"refusal": [entry("drown", bytes=[])]}, {"logprobs": "drown"}),
    ],
)
def test_tokens_that_are_not_the_text_are_a_channel(logprobs: JSON, expected: dict[str, str]) -> None:
    assert channels(read(logprobs)) == expected


@pytest.mark.parametrize(
    "logprobs",
    [
        "drown",
        ["drown"],
        {"content": "drown"},
        {"content": ["drown"]},
        {"content": [["drown"]]},
        {"content": [{"token": ["drown"]}]},
        {"content": [entry("Hi", bytes="drown")]},
        {"content": [entry("Hi", bytes=["drown"])]},
        {"content": [entry("Hi", logprob="drown")]},
        {"content": [entry("Hi", drown=1)]},
        {"content": [entry("Hi", top_logprobs="drown")]},
        {"content": [entry("Hi", top_logprobs=["drown"])]},
        {"content": [entry("Hi", top_logprobs=[{"token": {"a": "drown"}}])]},
        {"content": [entry("Hi", top_logprobs=[entry("Hi", bytes="drown")])]},
        {"content": [entry("Hi", top_logprobs=[entry("Hi", decoded_token="drown")])]},
        {"tokens": "drown"},
        {"tokens": {"a": "drown"}},
        {"tokens": ["Hi", {"a": "drown"}]},
        {"tokens": ["Hi"], "top_logprobs": "drown"},
        {"tokens": ["Hi"], "top_logprobs": ["drown"]},
        {"tokens": ["Hi"], "top_logprobs": [["drown"]]},
        {"tokens": ["Hi"], "top_logprobs": [{"Hi": "drown"}]},
        {"tokens": ["Hi"], "token_logprobs": ["drown"]},
        {"drown": [1]},
    ],
)
def test_text_in_odd_places_is_judged_as_unknown(logprobs: JSON) -> None:
    reading = read(logprobs)

    assert "drown" in reading.strings
    assert reading.segments == []


def test_tokens_that_the_model_did_not_choose_are_alternatives() -> None:
    top: JSON = [entry("Hi"), entry("Hello"), entry("Ha", bytes=list(b"drown")), entry("", bytes=[]), {"logprob": 1}]

    assert read({"content": [entry("Hi", top_logprobs=top)]}).alternatives == ["Hello", "Ha", "drown"]
    assert read({"tokens": ["H", "i"], "top_logprobs": [{"H": -1, "drown": -2}, {"i": -1}]}).alternatives == ["drown"]


def test_a_character_whose_bytes_come_in_two_events_is_in_step() -> None:
    before: dict[str, Echo] = {}
    first, second = "杀".encode()[:2], "杀".encode()[2:]

    assert silent(read({"content": [{"bytes": list(first)}]}, "", before))
    assert silent(read({"content": [{"bytes": list(second)}]}, "杀", before))


def test_a_character_whose_bytes_come_in_two_events_is_read() -> None:
    before: dict[str, Echo] = {}
    first, second = "杀".encode()[:2], "杀".encode()[2:]
    read({"content": [{"bytes": list(first)}]}, "a", before)

    assert channels(read({"content": [{"bytes": list(second)}]}, "b", before)) == {"logprobs.bytes": "杀"}


def test_bytes_that_are_no_text_do_no_harm() -> None:
    assert channels(read({"content": [entry("Hi", bytes=[255, 72, 300, -1, 1.5])]})) == {"logprobs.bytes": "\ufffdH"}


@given(st.lists(st.tuples(st.integers(1, 4), st.booleans()), min_size=1, max_size=20), st.booleans())
def test_a_phrase_in_tokens_is_seen_whole_however_they_go_in_and_out_of_step(
    pieces: list[tuple[int, bool]], as_bytes: bool
) -> None:
    before: dict[str, Echo] = {}
    seen = ""
    at = 0
    astray = False
    for length, in_step in pieces:
        token = PHRASE[at : at + length]
        at += len(token)
        logprobs: JSON = {"content": [{"bytes": list(token.encode())} if as_bytes else {"token": token}]}
        seen += "".join(channels(read(logprobs, token if in_step else "...", before)).values())
        astray |= bool(token) and not in_step
    assert seen == (PHRASE[:at] if astray else "")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 300) | st.sampled_from(["Hi", "drown", PHRASE]),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["content", "tokens", "token", "bytes", "top_logprobs", "logprob", "refusal", "drown", "odd"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=15,
)


@given(json_values)
def test_no_string_of_any_shape_is_passed_by(logprobs: JSON) -> None:
    reading = read(logprobs, "Hi")
    seen = "\n".join([*channels(reading).values(), *reading.strings, *reading.alternatives])

    assert ("drown" in json.dumps(logprobs)) <= ("drown" in seen)
