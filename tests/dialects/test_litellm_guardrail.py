"""LiteLLM's generic guardrail API: all that a question shows is judged once, by its role; answers hold no text."""

from __future__ import annotations

import json
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safety_proxy.dialects.images import MAX_IMAGES
from safety_proxy.dialects.litellm_guardrail import (
    Completion,
    GuardrailRequest,
    guardrail_answer,
    read_guardrail_request,
    stream_holdback,
)
from safety_proxy.errors import RequestError
from safety_proxy.events import Chunk
from safety_proxy.model import JSON, Action, Annotation, Category, Decision, JSONObject, Prompt
from safety_proxy.normalise import visible
from tests.pictures import data_url, picture, png

USER: JSONObject = {"role": "user", "content": "hello"}
CALL: JSONObject = {"id": "call_1", "type": "function", "function": {"name": "send", "arguments": '{"to": "a friend"}'}}
CAT = data_url(png())


def read_prompt(**fields: JSON) -> Prompt:
    content = read_guardrail_request({"input_type": "request", **fields}).content
    assert isinstance(content, Prompt)
    return content


def read_completion(**fields: JSON) -> Completion:
    content = read_guardrail_request({"input_type": "response", **fields}).content
    assert isinstance(content, Completion)
    return content


def judged(prompt: Prompt) -> list[tuple[str, str]]:
    return [(text.role, text.query.text) for text in prompt.texts]


def channels(chunk: Chunk) -> dict[str, str]:
    texts: dict[str, str] = {}
    for segment in chunk.segments:
        texts[segment.channel] = texts.get(segment.channel, "") + segment.text
    return {channel: text for channel, text in texts.items() if text}


# ------------------------------------------------------------------------------------------------------- prompts


def test_messages_are_read_as_a_chat_and_their_texts_not_twice() -> None:
    messages: list[JSON] = [{"role": "system", "content": "be brief"}, USER]
    prompt = read_prompt(structured_messages=messages, texts=["be brief", "hello"], model="m")

    assert judged(prompt) == [("system", "be brief"), ("user", "hello")]


def test_history_is_known_from_messages() -> None:
    prompt = read_prompt(structured_messages=[USER, {"role": "assistant", "content": "hi"}, {**USER, "content": "bye"}])

    assert [text.history for text in prompt.texts] == [True, True, False]


def test_a_text_that_the_messages_do_not_hold_is_the_users() -> None:
    prompt = read_prompt(structured_messages=[{"role": "system", "content": "be brief"}], texts=["be brief", "more"])

    assert judged(prompt) == [("system", "be brief"), ("user", "more")]


def test_texts_alone_are_laid_end_to_end_as_a_conversation() -> None:
    prompt = read_prompt(texts=["one", "two"])

    assert judged(prompt) == [("user", "one"), ("user", "two")]
    assert all(text.spoken for text in prompt.texts)
    assert [text.field for text in prompt.texts] == ["texts[0]", "texts[1]"]


def test_tools_are_judged_as_tools() -> None:
    prompt = read_prompt(
        texts=["hello"], tools=[{"type": "function", "function": {"name": "f", "description": "sends mail"}}]
    )

    assert [(role, "sends mail" in text) for role, text in judged(prompt)] == [("tool", True), ("user", False)]


def test_tool_calls_are_judged_unless_the_messages_hold_them() -> None:
    assistant: JSONObject = {"role": "assistant", "content": None, "tool_calls": [CALL]}
    alone, within = read_prompt(tool_calls=[CALL]), read_prompt(structured_messages=[assistant], tool_calls=[CALL])

    assert [(role, "a friend" in text) for role, text in judged(alone)] == [("assistant", True)]
    assert [text.field for text in within.texts] == ["messages[0].tool_calls"]


def test_a_model_with_an_odd_name_is_judged() -> None:
    assert judged(read_prompt(texts=[], model="gpt-4o")) == []
    assert [text.field for text in read_prompt(texts=[], model="a model that speaks").texts] == ["model"]


def test_what_the_answer_is_for_is_not_judged() -> None:
    sender: JSONObject = {"user_api_key_alias": "somebody", "user_api_key_user_email": "a@example.org"}
    where: JSONObject = {"litellm_call_id": "some words", "request_headers": {"user-agent": "some words"}}

    assert judged(read_prompt(texts=["hello"], request_data=sender, **where)) == [("user", "hello")]


def test_an_image_is_looked_at_once() -> None:
    part: JSONObject = {"type": "image_url", "image_url": {"url": CAT}}
    both = read_prompt(structured_messages=[{"role": "user", "content": [part]}], images=[CAT])
    alone = read_prompt(images=[CAT])

    assert [text.query.images for text in both.texts] == [(picture(),)]
    assert [text.query.images for text in alone.texts] == [(picture(),)]
    assert both.unreadable == alone.unreadable == ()


def test_an_image_elsewhere_is_unreadable() -> None:
    assert read_prompt(images=[CAT, "https://example.org/cat.png"]).unreadable == ("images[1]",)


def test_more_images_than_models_take_are_unreadable() -> None:
    prompt = read_prompt(images=[data_url(png(str(i))) for i in range(MAX_IMAGES + 1)])

    assert len(prompt.texts) == MAX_IMAGES
    assert prompt.unreadable == (f"images[{MAX_IMAGES}]",)


@pytest.mark.parametrize(
    ("message", "place"),
    [("hello", "messages[0]"), ({"role": 7}, "messages[0].role"), ({"role": "user", "content": 7}, "messages[0].content")],
)
def test_messages_that_make_no_sense_are_unreadable_and_judged_all_the_same(message: JSON, place: str) -> None:
    prompt = read_prompt(structured_messages=[message, {"oddly": "some words"}])

    assert prompt.unreadable == (place,)
    assert any("some words" in text for _, text in judged(prompt))


# ------------------------------------------------------------------------------------------------------- completions


def test_the_texts_of_a_completion_are_judged_together_and_each_by_itself() -> None:
    """A phrase may be cut by the border between two parts; a choice of its own may begin in the middle of a window."""
    completion = read_completion(texts=["one ", "two"])

    assert completion.texts == ("one ", "two")
    assert [channels(chunk) for chunk in completion.chunks] == [
        {"content": "one two"},
        {"content": "one "},
        {"content": "two"},
    ]
    assert [chunk.choice for chunk in completion.chunks] == [0, 1, 2]
    assert all(chunk.finished for chunk in completion.chunks)


def test_one_text_is_judged_once() -> None:
    assert [channels(chunk) for chunk in read_completion(texts=["one"]).chunks] == [{"content": "one"}]


def test_tool_calls_of_one_index_are_not_mixed_up() -> None:
    """Two choices may each have a call number 0."""
    calls: list[JSON] = [{"index": 0, "function": {"name": "send", "arguments": text}} for text in ("one", "two")]
    (chunk,) = read_completion(texts=[], tool_calls=calls).chunks

    assert channels(chunk)["tool_call:0.arguments"] == "one"
    assert channels(chunk)["tool_call:1.arguments"] == "two"
    assert all(segment.whole for segment in chunk.segments if segment.text)


def test_what_a_completion_holds_in_words_beside_its_texts_is_judged() -> None:
    (chunk,) = read_completion(texts=["one"], images=["https://example.org/some-words"], tool_calls=["two words"]).chunks

    assert {"https://example.org/some-words", "two words"} <= {*chunk.strings}


# ------------------------------------------------------------------------------------------------------- questions


def test_the_policy_stands_among_the_parameters() -> None:
    body: JSONObject = {"input_type": "request", "texts": ["hello"]}

    assert read_guardrail_request(body).policy is None
    assert read_guardrail_request({**body, "additional_provider_specific_params": {"other": 1}}).policy is None
    assert read_guardrail_request({**body, "additional_provider_specific_params": {"policy": "strict"}}).policy == "strict"


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"input_type": None}, "input_type"),
        ({"input_type": "both"}, "input_type"),
        ({"input_type": ["request"]}, "input_type"),
        ({"texts": None}, "texts"),
        ({"texts": "hello"}, "texts"),
        ({"texts": ["hello", 7]}, "texts[1]"),
        ({"images": [{}]}, "images[0]"),
        ({"structured_messages": {}}, "structured_messages"),
        ({"tools": "f"}, "tools"),
        ({"tool_calls": {}}, "tool_calls"),
        ({"additional_provider_specific_params": "strict"}, "additional_provider_specific_params"),
        ({"additional_provider_specific_params": {"policy": 7}}, "additional_provider_specific_params.policy"),
    ],
)
def test_a_malformed_question_is_refused_by_its_field(change: JSONObject, field: str) -> None:
    with pytest.raises(RequestError) as caught:
        read_guardrail_request({"input_type": "request", "texts": ["hello"], **change})
    assert (caught.value.status, caught.value.field) == (400, field)


@pytest.mark.parametrize("body", [None, [], "request", 7])
def test_a_question_is_an_object(body: JSON) -> None:
    with pytest.raises(RequestError):
        read_guardrail_request(body)


JSONS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["role", "content", "type", "text", "x"]), inner)
    ),
    max_leaves=8,
)
FIELDS = ("structured_messages", "texts", "images", "tools", "tool_calls", "model", "additional_provider_specific_params")


@given(
    body=st.fixed_dictionaries(
        {"input_type": st.sampled_from(["request", "response"])}, optional=dict.fromkeys(FIELDS, JSONS)
    )
)
def test_whatever_comes_is_read_or_refused(body: JSONObject) -> None:
    with suppress(RequestError):
        read_guardrail_request(body)


@given(
    words=st.lists(st.text("abc", min_size=3, max_size=9), min_size=1, max_size=4),
    role=st.sampled_from(["user", "system", "tool", "x"]),
)
def test_every_text_is_judged_wherever_it_stands(words: list[str], role: str) -> None:
    messages: list[JSON] = [{"role": role, "content": word} for word in words]
    seen = {text for _, text in judged(read_prompt(structured_messages=messages, texts=[*words, "further"]))}

    assert {*words, "further"} <= seen


# ------------------------------------------------------------------------------------------------------- answers


PROMPT = GuardrailRequest(Prompt(()), None)
COMPLETION = GuardrailRequest(Completion((), ()), None)


def test_what_is_allowed_passes_as_it_is() -> None:
    passed = Decision(Action.ALLOW, {Category.VIOLENCE: Annotation(filtered=False, severity=2)}, error="timeout")

    assert guardrail_answer(PROMPT, passed) == {"action": "NONE"}


def test_a_reason_names_what_was_filtered_and_nothing_else() -> None:
    annotations = {
        Category.VIOLENCE: Annotation(filtered=True, severity=5),
        Category.HATE: Annotation(filtered=False, severity=2),
        Category.JAILBREAK: Annotation(filtered=True, detected=True),
    }
    decision = Decision(Action.FILTER, annotations, {"house-words": True, "other-words": False})

    told = "the completion was filtered: violence (medium), jailbreak, blocklist house-words"
    assert guardrail_answer(COMPLETION, decision) == {"action": "BLOCKED", "blocked_reason": told}


def test_what_could_not_be_judged_is_blocked_with_the_reason() -> None:
    answer = guardrail_answer(PROMPT, Decision(Action.FAIL, error="timeout"))

    assert answer["action"] == "BLOCKED"
    assert "the prompt could not be judged (timeout)" in json.dumps(answer)


@given(text=st.text(st.sampled_from("ab\u200b\u00ad"), max_size=20), positions=st.integers(0, 12))
def test_the_holdback_holds_as_many_positions_as_the_policy_wants(text: str, positions: int) -> None:
    """Characters that take no position do not count: else they would push a phrase out of the holdback."""
    (held,) = stream_holdback([text], positions)

    assert visible(text[len(text) - held :]) == min(positions, visible(text))


def test_of_a_text_that_is_judged_as_a_whole_all_is_held() -> None:
    assert stream_holdback(["one", ""], None) == [3, 0]
