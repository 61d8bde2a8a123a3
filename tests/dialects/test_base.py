"""Whole answers of either dialect, and what is left of one that was filtered. Requests have a file of their own."""

from __future__ import annotations

from typing import cast

import pytest

from safety_proxy.dialects.base import Dialect, choice_index, metadata_or
from safety_proxy.dialects.chat_completions import ChatCompletions
from safety_proxy.dialects.completions import Completions
from safety_proxy.errors import BackendError
from safety_proxy.events import Chunk, Closed, End, Failure, Finish, Frame, Release
from safety_proxy.jsontext import write
from safety_proxy.model import ALLOWED, JSON, Action, Annotation, Category, Decision, JSONObject
from safety_proxy.stream import StreamFilter
from safety_proxy.testing import drive, occurs
from safety_proxy.windows import WindowPolicy

CHAT, TEXT = ChatCompletions(), Completions()
FILTERED = Decision(Action.FILTER, {Category.HATE: Annotation(True, severity=6)})
PHRASE = "drown the kittens"
POLICY = WindowPolicy(80, 120, 180, 50)


def chat_answer(*contents: JSON, **fields: JSON) -> JSONObject:
    choices: list[JSON] = [
        {"index": i, "message": {"role": "assistant", "content": content}, "logprobs": None, "finish_reason": "stop"}
        for i, content in enumerate(contents)
    ]
    return {"id": "c-1", "object": "chat.completion", "created": 7, "model": "m", "choices": choices, **fields}


def choices_of(body: JSONObject) -> list[JSONObject]:
    return cast("list[JSONObject]", body["choices"])


def answered(
    dialect: Dialect, body: JSONObject, *, choices: int = 1, annotate: bool = False, bad: Decision = FILTERED
) -> JSONObject:
    """The answer that a client gets if `PHRASE` is what must not be said."""
    reads = [[*dialect.read_answer(body), Closed(complete=True)]]
    effects = drive(
        StreamFilter(POLICY, choices=choices),
        reads,
        lambda queries: bad if any(occurs(PHRASE, query) for query in queries) else ALLOWED,
    )
    return dialect.write_answer(body, effects, annotate=annotate, prompt_results=None)


# ---------------------------------------------------------------------------------------------------- whole answers


@pytest.mark.parametrize("annotate", [False, True])
def test_an_allowed_answer_arrives_as_it_was_sent(*, annotate: bool) -> None:
    body = chat_answer("a", "b", usage={"prompt_tokens": 1}, service_tier="default", strange=["x"])
    answer = answered(CHAT, body, choices=2, annotate=annotate)
    if annotate:
        for choice in choices_of(answer):
            assert choice.pop("content_filter_results") == {}

    assert answer == body


def test_a_filtered_chat_choice_loses_all_but_its_index() -> None:
    body = chat_answer(PHRASE, "fine", usage={"total_tokens": 9})
    first = choices_of(body)[0]
    first.update({"logprobs": {"content": [{"token": "drown"}]}, "token_ids": [1], "strange": "x"})
    answer = answered(CHAT, body, choices=2, annotate=True)

    assert answer["choices"] == [
        {
            "index": 0,
            "message": {"role": "assistant", "content": None},
            "logprobs": None,
            "finish_reason": "content_filter",
            "content_filter_results": {"hate": {"filtered": True, "severity": "high"}},
        },
        {**choices_of(body)[1], "content_filter_results": {}},
    ]
    assert answer["usage"] == {"total_tokens": 9}
    assert not any(word in write(answer) for word in (b"drown", b"kittens", b"strange", b"token_ids"))


def test_a_filtered_text_choice_has_empty_text() -> None:
    body: JSONObject = {
        "id": "1",
        "object": "text_completion",
        "choices": [{"text": PHRASE, "index": 0, "finish_reason": "length"}],
    }

    assert answered(TEXT, body, bad=Decision(Action.FAIL, error="timeout"))["choices"] == [
        {"index": 0, "text": "", "logprobs": None, "finish_reason": "content_filter_error"}
    ]


def test_the_backends_own_filter_is_kept() -> None:
    body = chat_answer(None)
    choice = choices_of(body)[0]
    own: JSON = {"hate": {"filtered": True, "severity": "high"}, "purview": {"detected": True}}
    choice.update({"finish_reason": "content_filter", "content_filter_results": own})

    assert answered(CHAT, body, annotate=True) == body


@pytest.mark.parametrize("reason", [None, ""])
def test_a_whole_answer_needs_no_finish_reason(reason: JSON) -> None:
    body = chat_answer("a")
    choices_of(body)[0]["finish_reason"] = reason

    assert answered(CHAT, body) == body


def test_choices_without_an_index_have_that_of_their_place_and_leave_as_they_stood() -> None:
    choices: list[JSON] = [
        {"index": 1, "text": "b"},
        {"index": "0", "text": "a"},
        {"index": None, "text": "c"},
        {"text": "d"},
    ]

    assert answered(TEXT, {"choices": choices}, choices=4)["choices"] == [
        {"index": 1, "text": "b"},
        {"index": 0, "text": "a"},
        {"index": 2, "text": "c"},
        {"index": 3, "text": "d"},
    ]


def test_an_answer_of_choices_alone_gets_no_envelope() -> None:
    body: JSONObject = {"choices": [{"index": 0, "text": "a"}]}

    assert answered(TEXT, body) == body


@pytest.mark.parametrize("index", [True, -1, "x", 1.5, [0], 1])
def test_an_answer_with_a_choice_that_was_not_asked_for_is_none(index: JSON) -> None:
    with pytest.raises(BackendError):
        answered(TEXT, {"choices": [{"index": index, "text": "a"}]})


@pytest.mark.parametrize(
    "body",
    [
        None,
        [],
        "hi",
        {},
        {"choices": []},
        {"choices": {}},
        {"choices": "hi"},
        {"choices": ["hi"]},
        {"choices": [{"index": 0}, None]},
        {**chat_answer("a"), "error": {"message": PHRASE}},
        {"object": "error", "message": PHRASE},
    ],
)
def test_what_is_no_answer_is_the_backends_fault_and_not_repeated(body: JSON) -> None:
    for read in (CHAT.read_answer, lambda answer: CHAT.as_events(answer, usage_apart=True)):
        with pytest.raises(BackendError) as caught:
            read(body)
        assert PHRASE not in str(caught.value)


@pytest.mark.parametrize(
    "fields",
    [
        {"model": PHRASE},
        {"id": PHRASE},
        {"system_fingerprint": PHRASE},
        {"created": PHRASE},
        {"usage": {"prompt_tokens": 1, "note": PHRASE}},
        {"usage": {"prompt_tokens": 1, PHRASE: 1}},
        {"strange": [PHRASE]},
        {PHRASE: 1},
    ],
)
def test_an_envelope_that_says_what_must_not_be_said_is_reduced_to_metadata_and_figures(fields: JSONObject) -> None:
    answer = answered(CHAT, {**chat_answer("a"), **fields}, annotate=True)

    assert PHRASE.encode() not in write(answer)
    assert set(answer) >= {"id", "object", "created", "model", "choices"}
    assert choices_of(answer)[0]["message"] == {"role": "assistant", "content": "a"}
    assert answer.get("usage") in (None, {"prompt_tokens": 1})


def test_results_for_the_prompt_stand_at_the_root() -> None:
    effects: list[Release | Finish | End] = [Release(Chunk(0, {"index": 0})), Release(Frame({"id": "1"})), End()]

    assert CHAT.write_answer({}, effects, annotate=True, prompt_results=[1]) == {
        "id": "1",
        "choices": [{"index": 0, "content_filter_results": {}}],
        "prompt_filter_results": [1],
    }
    assert "prompt_filter_results" not in CHAT.write_answer({}, effects, annotate=False, prompt_results=[1])


def test_a_refused_prompt_has_an_answer_made_of_our_own_envelope() -> None:
    envelope: JSONObject = {"id": "1", "object": "chat.completion", "created": 5, "model": "m"}

    assert CHAT.write_answer(envelope, [Finish(0, FILTERED)], annotate=False, prompt_results=None) == {
        **envelope,
        "choices": [CHAT.empty_choice(0, "message", "content_filter")],
    }


def test_an_answer_that_failed_is_none() -> None:
    with pytest.raises(BackendError) as caught:
        CHAT.write_answer({}, [End(Failure("broke off", "backend_incomplete"), (0,))], annotate=True, prompt_results=None)

    assert (caught.value.message, caught.value.code) == ("broke off", "backend_incomplete")


# ---------------------------------------------------------------------------------------------------- small things


@pytest.mark.parametrize(
    ("value", "index"),
    [
        (None, 0),
        ("0", 0),
        (0.0, 0),
        (0, 0),
        (5, 5),
        (True, None),
        (False, None),
        (-1, None),
        ("1", None),
        (1.0, None),
        ([], None),
    ],
)
def test_the_index_of_a_choice(value: JSON, index: int | None) -> None:
    assert choice_index(value) == index


@pytest.mark.parametrize(("value", "found"), [("gpt", "gpt"), ("two words", "d"), (5, "d"), (None, "d")])
def test_metadata_of_odd_shape_is_replaced(value: JSON, found: str) -> None:
    assert metadata_or(value, "d") == found


def test_what_stands_beside_the_choices_is_metadata_or_judged() -> None:
    payload: JSONObject = {
        "id": "1",
        "object": "chat.completion.chunk",
        "created": 5,
        "model": "two words",
        "system_fingerprint": None,
        "service_tier": "default",
        "usage": {"prompt_tokens": 5, "note": "a"},
        "strange": ["b"],
        "choices": ["not here"],
    }

    assert CHAT.read_frame(payload) == Frame(payload, ("two words", "note", "a", "strange", "b"))
