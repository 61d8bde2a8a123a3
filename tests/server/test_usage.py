"""Tokens: estimated from a request, read from what a backend says."""

from __future__ import annotations

import pytest

from safety_proxy.dialects.base import CompletionRequest
from safety_proxy.dialects.chat_completions import ChatCompletions
from safety_proxy.dialects.completions import Completions
from safety_proxy.model import JSON
from safety_proxy.server.usage import Usage, UsageReader, estimate_tokens, of_characters, read_usage


def chat(**more: JSON) -> CompletionRequest:
    return ChatCompletions().read_request({"messages": [{"role": "user", "content": "x" * 9}], **more})


@pytest.mark.parametrize(
    ("more", "tokens"),
    [
        ({}, 3 + 16),
        ({"max_tokens": 100}, 3 + 100),
        ({"max_tokens": 100, "max_completion_tokens": 50}, 3 + 50),
        ({"max_tokens": 100, "n": 3}, 3 + 300),
        ({"n": 2}, 3 + 32),
        ({"max_tokens": 0}, 3),
        ({"max_tokens": None}, 3 + 16),
    ],
)
def test_a_request_is_counted_for_a_quarter_of_its_characters_and_max_tokens_for_each_choice(
    more: dict[str, JSON], tokens: int
) -> None:
    assert estimate_tokens(chat(**more)) == tokens


def test_every_prompt_of_a_request_has_its_choices() -> None:
    asked = Completions().read_request({"prompt": ["abcd", "efgh"], "n": 2, "max_tokens": 10})
    assert estimate_tokens(asked) == 2 + 40


@pytest.mark.parametrize("value", [-1, True, "7", 1.5, 2**50])
def test_a_max_tokens_that_is_none_counts_as_not_said(value: JSON) -> None:
    asked = chat()
    asked.body["max_tokens"] = value
    assert estimate_tokens(asked) == 3 + 16


def test_a_quarter_of_the_characters_is_rounded_up() -> None:
    assert [of_characters(n) for n in (0, 1, 4, 5)] == [0, 1, 1, 2]


@pytest.mark.parametrize(
    ("told", "usage"),
    [
        ({"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}, Usage(1, 2)),
        ({"prompt_tokens": 1, "completion_tokens": 2}, Usage(1, 2)),
        ({"prompt_tokens": 5, "total_tokens": 5}, Usage(5, 0)),
        ({"completion_tokens": 2, "total_tokens": 5}, Usage(3, 2)),
        ({"total_tokens": 5}, Usage(5, 0)),
        ({"prompt_tokens": 7, "total_tokens": 5}, Usage(7, 0)),
        ({}, None),
        (None, None),
        ("many", None),
        ({"prompt_tokens": -1, "total_tokens": True}, None),
    ],
)
def test_usage_is_read_as_far_as_it_can_be_counted(told: JSON, usage: Usage | None) -> None:
    assert read_usage(told) == usage


def test_the_total_is_of_both() -> None:
    assert Usage(1, 2).total == 3


STREAM = (
    b'data: {"usage": null}\n\ndata: {"usage": {"total_tokens": 1}}\n\n'
    b'data: "usage"\n\ndata: {"usage": {"total_tokens": 2}}\n\ndata: [DONE]\n\n'
)


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_the_last_usage_of_a_stream_is_found_however_it_is_cut(size: int) -> None:
    reader = UsageReader(100, stream=True)
    for i in range(0, len(STREAM), size):
        reader.feed(STREAM[i : i + size])
    assert reader.usage == {"total_tokens": 2}


def test_an_event_that_is_too_long_ends_the_search_and_nothing_else() -> None:
    reader = UsageReader(40, stream=True)
    reader.feed(STREAM[:60] + b"\n" + b"data: " + b"x" * 50)
    reader.feed(STREAM)
    assert reader.usage == {"total_tokens": 1}


@pytest.mark.parametrize(
    ("limit", "body", "usage"),
    [
        (100, b'{"usage": {"total_tokens": 2}}', {"total_tokens": 2}),
        (10, b'{"usage": {"total_tokens": 2}}', None),
        (100, b"no JSON", None),
        (100, b"[]", None),
    ],
)
def test_the_usage_of_a_whole_answer_is_found_if_it_is_not_too_long(limit: int, body: bytes, usage: JSON) -> None:
    reader = UsageReader(limit, stream=False)
    reader.feed(body[:5])
    reader.feed(body[5:])
    assert reader.usage == usage
