"""Text completions: prompts of every shape, and the one channel of an answer."""

from __future__ import annotations

import pytest

from safety_proxy.dialects.completions import Completions
from safety_proxy.errors import RequestError
from safety_proxy.events import Segment
from safety_proxy.model import JSON, JSONObject, Kind, Prompt

DIALECT = Completions()


def read(prompt: JSON, **fields: JSON) -> Prompt:
    return DIALECT.read_request({"prompt": prompt, **fields}).prompt


def test_a_prompt_is_a_text_of_the_user() -> None:
    (text,) = read("hi").texts

    assert (text.query.text, text.query.kind, text.role, text.field) == ("hi", Kind.USER_PROMPT, "user", "prompt")
    assert (text.spoken, text.prompt_index) == (False, 0)


def test_escapes_in_a_prompt_are_decoded() -> None:
    assert [text.query.text for text in read(r"say \u006bill").texts] == [r"say \u006bill", "say kill"]


def test_several_prompts_are_judged_one_by_one_and_each_has_n_choices() -> None:
    prompt = read(["a", "b"], n=3)

    assert [(text.query.text, text.field, text.prompt_index) for text in prompt.texts] == [
        ("a", "prompt[0]", 0),
        ("b", "prompt[1]", 1),
    ]
    assert (prompt.prompts, prompt.choices) == (2, 6)


@pytest.mark.parametrize(
    ("prompt", "unreadable", "prompts"),
    [
        ([1, 2, 3], ("prompt",), 1),
        ([[1, 2], [3]], ("prompt[0]", "prompt[1]"), 2),
        (["a", [1]], ("prompt[1]",), 2),
    ],
)
def test_token_ids_cannot_be_read(prompt: JSON, unreadable: tuple[str, ...], prompts: int) -> None:
    found = read(prompt)

    assert (found.unreadable, found.prompts, found.choices) == (unreadable, prompts, prompts)


@pytest.mark.parametrize(
    ("prompt", "field"),
    [
        (None, "prompt"),
        (5, "prompt"),
        ({}, "prompt"),
        ([], "prompt"),
        ([True], "prompt[0]"),
        ([None], "prompt[0]"),
        ([1, "hidden"], "prompt[0]"),
        (["a", 1], "prompt[1]"),
        ([["hidden"]], "prompt[0]"),
        ([{"prompt": "hidden"}], "prompt[0]"),
        ([1.5], "prompt[0]"),
    ],
)
def test_other_prompts_are_refused_by_name(prompt: JSON, field: str) -> None:
    with pytest.raises(RequestError) as caught:
        read(prompt)

    assert (caught.value.status, caught.value.field) == (400, field)


def test_all_other_fields_are_judged() -> None:
    fields: JSONObject = {
        "suffix": "a",
        "stop": ["b"],
        "user": "c",
        "messages": [{"role": "user", "content": "d"}],
        "x": {"y": "e"},
    }
    texts = read("hi", **fields, model="gpt").texts[1:]

    assert [(text.field, text.query.text) for text in texts] == [
        ("suffix", "a"),
        ("stop", "b"),
        ("user", "c"),
        ("messages", "d"),
        ("x", "x\ny\ne"),
    ]
    assert read("hi", model="the model").texts[1].field == "model"
    assert read("hi", prompt_embeds="A").unreadable == ("prompt_embeds",)


def test_the_text_of_a_choice_is_its_only_channel() -> None:
    reading = DIALECT.read_choice({"index": 0, "text": "Hi", "finish_reason": "length", "stop_reason": None}, "text")

    assert (reading.segments, reading.finished, reading.strings) == ([Segment("text", "Hi")], True, [])


def test_fields_of_a_chat_are_channels_of_their_own() -> None:
    reading = DIALECT.read_choice({"text": "", "delta": {"content": "a"}, "message": {"refusal": "b"}}, "text")

    assert reading.segments == [Segment("delta", "a"), Segment("message", "b")]


def test_a_choice_without_text_has_an_empty_one() -> None:
    assert DIALECT.empty_choice(2, "text", "content_filter") == {
        "index": 2,
        "text": "",
        "logprobs": None,
        "finish_reason": "content_filter",
    }


def test_events_look_like_whole_answers() -> None:
    choice: JSONObject = {"index": 0, "text": "Hi", "logprobs": None, "finish_reason": "stop"}

    assert DIALECT.as_delta(choice) == choice
