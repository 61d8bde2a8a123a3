"""What the dialects share of a request: flags, counts, and that nothing is added to it."""

from __future__ import annotations

import pytest

from safety_proxy.dialects.base import MAX_CHOICES
from safety_proxy.dialects.chat_completions import ChatCompletions
from safety_proxy.dialects.completions import Completions
from safety_proxy.errors import RequestError
from safety_proxy.model import JSON, JSONObject

CHAT, TEXT = ChatCompletions(), Completions()


@pytest.mark.parametrize(
    ("value", "stream"), [(True, True), ("true", True), ("True", True), (False, False), ("false", False), ("False", False)]
)
def test_stream_is_read_as_backends_read_it_and_forwarded_as_a_boolean(value: JSON, *, stream: bool) -> None:
    asked = TEXT.read_request({"prompt": "hi", "stream": value})

    assert (asked.stream, asked.body["stream"]) == (stream, stream)


def test_null_is_no_stream_flag() -> None:
    asked = TEXT.read_request({"prompt": "hi", "stream": None})

    assert (asked.stream, asked.body) == (False, {"prompt": "hi"})


@pytest.mark.parametrize("value", [1, 0, 1.0, "yes", "TRUE", "", [], {}])
def test_other_stream_flags_are_refused(value: JSON) -> None:
    with pytest.raises(RequestError) as caught:
        TEXT.read_request({"prompt": "hi", "stream": value})

    assert (caught.value.status, caught.value.field) == (400, "stream")


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"n": 0}, "n"),
        ({"n": -1}, "n"),
        ({"n": True}, "n"),
        ({"n": "2"}, "n"),
        ({"n": 1.5}, "n"),
        ({"n": MAX_CHOICES + 1}, "n"),
        ({"n": MAX_CHOICES, "prompt": ["a", "b"]}, "n"),
        ({"model": 5}, "model"),
        ({"model": ["m"]}, "model"),
    ],
)
def test_fields_of_the_wrong_type_are_refused_by_name(fields: JSONObject, field: str) -> None:
    with pytest.raises(RequestError) as caught:
        TEXT.read_request({"prompt": "hi", **fields})

    assert (caught.value.status, caught.value.field) == (400, field)


@pytest.mark.parametrize("body", [None, [], "hi", 5])
def test_a_body_that_is_no_object_is_refused(body: JSON) -> None:
    with pytest.raises(RequestError, match="JSON object"):
        CHAT.read_request(body)


def test_the_forwarded_body_is_the_moderated_one_and_nothing_is_added() -> None:
    body: JSONObject = {
        "prompt": "hi",
        "model": "m",
        "n": 2,
        "best_of": 3,
        "ignore_eos": True,
        "use_beam_search": False,
        "logprobs": 5,
        "unheard_of": {"a": [1.5, None]},
        "stream_options": {"include_usage": True},
    }
    asked = TEXT.read_request(body)

    assert asked.body == body
    assert (asked.model, asked.include_usage, asked.prompt.choices) == ("m", True, 2)


@pytest.mark.parametrize("options", [None, {}, [], {"include_usage": False}, {"include_usage": 1}])
def test_usage_is_included_only_if_asked_for(options: JSON) -> None:
    assert not TEXT.read_request({"prompt": "hi", "stream_options": options}).include_usage
