"""All text of a chat request is judged, with its place, role and kind; what nobody can read is named."""

from __future__ import annotations

import copy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safety_proxy.dialects.chat_completions import ChatCompletions
from safety_proxy.dialects.images import MAX_IMAGES
from safety_proxy.errors import RequestError
from safety_proxy.model import JSON, JSONObject, Kind, Prompt, PromptText, Query
from tests.pictures import data_url, picture, png

WORD = "xyzzy"


def read(body: JSON) -> Prompt:
    return ChatCompletions().read_request(body).prompt


def ask(*messages: JSON | JSONObject, **fields: JSON) -> JSONObject:
    return {"messages": list(messages), **fields}


def said(role: str, content: JSON) -> JSONObject:
    return {"role": role, "content": content}


def user(content: JSON, **fields: JSON) -> JSONObject:
    return {"role": "user", "content": content, **fields}


def find(prompt: Prompt, word: str = WORD) -> list[PromptText]:
    return [text for text in prompt.texts if word in text.query.text]


def test_each_message_is_a_text_of_its_own_with_its_role_and_place() -> None:
    roles = ["system", "developer", "user", "assistant", "tool"]
    prompt = read(ask(*(said(role, f"I am {role}") for role in roles)))

    assert [(text.role, text.field, text.query.text, text.spoken) for text in prompt.texts] == [
        (role, f"messages[{i}].content", f"I am {role}", True) for i, role in enumerate(roles)
    ]
    assert [text.query.kind for text in prompt.texts] == [
        Kind.MESSAGE,
        Kind.MESSAGE,
        Kind.USER_PROMPT,
        Kind.MESSAGE,
        Kind.DOCUMENT,
    ]
    assert (prompt.prompts, prompt.choices, prompt.unreadable) == (1, 1, ())


def test_an_unknown_role_counts_as_user_and_its_name_is_judged() -> None:
    texts = read(ask({"role": f"the {WORD}", "content": "hi"})).texts

    assert [(text.role, text.query.kind, text.field, text.query.text) for text in texts] == [
        ("user", Kind.USER_PROMPT, "messages[0].role", f"the {WORD}"),
        ("user", Kind.USER_PROMPT, "messages[0].content", "hi"),
    ]
    assert [text.role for text in read(ask({"role": "function", "name": "f", "content": "hi"})).texts] == ["tool", "tool"]


def test_turns_before_the_last_user_turn_are_history() -> None:
    turns = [user("a"), said("assistant", "b"), user("c", name="Bo"), said("tool", "d")]

    assert [text.history for text in read(ask(*turns)).texts] == [True, True, False, False, False]
    assert [text.history for text in read(ask(*turns[1:2])).texts] == [False]
    assert [text.history for text in read(ask(user("a"), {"role": "User", "content": "b"})).texts] == [False, False, False]


def test_parts_are_spoken_one_by_one() -> None:
    parts: list[JSON] = [
        {"type": "text", "text": "a"},
        "b",
        {"type": "input_text", "text": "c"},
        {"type": "output_text", "text": "d"},
        {"type": "refusal", "refusal": "e"},
        {"type": "thinking", "thinking": "f"},
        {"text": "g"},
        {"type": "text", "text": "h", "cache_control": {"type": WORD}},
    ]
    prompt = read(ask(user(parts)))

    assert [text.query.text for text in prompt.texts if text.spoken] == list("abcdefgh")
    assert [text.field for text in prompt.texts][:5] == [
        "messages[0].content[0].text",
        "messages[0].content[1]",
        "messages[0].content[2].text",
        "messages[0].content[3].text",
        "messages[0].content[4].refusal",
    ]
    assert find(prompt)[0].field == "messages[0].content[7]"
    assert prompt.unreadable == ()


UNREADABLE_PARTS: dict[str, JSONObject] = {
    "remote image": {"type": "image_url", "image_url": {"url": "https://example.org/cat.png", "detail": "high"}},
    "image that is none": {"type": "image_url", "image_url": "data:image/png;base64,AAAA"},
    "sound": {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}},
    "file": {"type": "file", "file": {"file_data": "AAAA", "filename": WORD}},
    "unknown type": {"type": "dream", "text": WORD},
    "type that is no word": {"type": ["text"], "text": WORD},
    "null type": {"type": None, "text": WORD},
    "image in a text part": {"type": "text", "text": WORD, "uuid": "1", "image_url": "https://example.org/cat.png"},
    "image without a type": {"image_url": {"url": "https://example.org/cat.png", "detail": WORD}},
    "image beside a text without a type": {"text": WORD, "image_embeds": "AAAA"},
}


@pytest.mark.parametrize("name", UNREADABLE_PARTS)
def test_parts_that_nobody_can_read_are_named_and_their_words_judged_all_the_same(name: str) -> None:
    part = UNREADABLE_PARTS[name]
    prompt = read(ask(user([{"type": "text", "text": "hi"}, part])))

    assert prompt.unreadable == ("messages[0].content[1]",)
    assert bool(find(prompt)) == (WORD in str(part))
    assert [text for text in prompt.texts if "AAAA" in text.query.text] == []


def test_an_inline_image_has_the_place_and_role_of_its_message_and_its_words_are_judged() -> None:
    image: JSONObject = {"type": "image_url", "image_url": {"url": data_url(png()), "detail": "high"}}
    named: JSONObject = {"type": "image_url", "image_url": {"url": data_url(png()), "format": WORD}, "name": WORD}
    parts: list[JSON] = [{"type": "text", "text": "what is this?"}, image]
    prompt = read(ask(said("tool", parts), user(["and this?", named])))
    images = [text for text in prompt.texts if text.query.images]

    assert [text.query for text in images] == [Query("", Kind.IMAGE, images=(picture(),))] * 2
    assert [(text.field, text.role, text.history, text.spoken) for text in images] == [
        ("messages[0].content[1]", "tool", True, False),
        ("messages[1].content[1]", "user", False, False),
    ]
    assert [text.query.text for text in prompt.texts if text.field == "messages[0].content[1]"] == [""]
    assert [(text.field, text.query.kind) for text in find(prompt)] == [("messages[1].content[1]", Kind.USER_PROMPT)]
    assert prompt.unreadable == ()


def test_so_many_images_are_read_and_no_more() -> None:
    image: JSONObject = {"type": "image_url", "image_url": {"url": data_url(png())}}
    asked = read(ask(user([image] * MAX_IMAGES)))
    more = read(ask(user([*[image] * MAX_IMAGES, "hi", image])))

    assert [prompt.unreadable for prompt in (asked, more)] == [(), (f"messages[0].content[{MAX_IMAGES + 1}]",)]
    assert [sum(bool(text.query.images) for text in prompt.texts) for prompt in (asked, more)] == [MAX_IMAGES] * 2
    assert find(more, "hi")


@pytest.mark.parametrize("field", ["audio", "images", "image_url", "files"])
def test_sound_and_pictures_beside_the_content_are_named(field: str) -> None:
    media: JSONObject = {field: {"id": WORD}}

    assert read(ask(user("hi", **media))).unreadable == (f"messages[0].{field}",)
    assert find(read(ask(user("hi", **media))))
    assert read(ask(user("hi", **{field: None}))).unreadable == ()


def test_fields_that_nobody_can_read_are_named() -> None:
    assert read(ask(user("hi"), chat_template="{{ x }}", prompt_embeds="A")).unreadable == ("chat_template", "prompt_embeds")


def test_reasoning_and_refusals_are_spoken() -> None:
    message: JSONObject = {"role": "assistant", "content": None, "reasoning_content": "a", "reasoning": "b", "refusal": "c"}
    odd: JSONObject = {"role": "assistant", "reasoning": [{"text": WORD}]}

    assert [(text.query.text, text.spoken) for text in read(ask(message)).texts] == [("a", True), ("b", True), ("c", True)]
    assert [text.spoken for text in find(read(ask(odd)))] == [False]


def test_tool_calls_are_judged_as_they_stand_and_decoded() -> None:
    call: JSON = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": r'{"a": "\u006bill"}'}}
    (text,) = read(ask({"role": "assistant", "content": None, "tool_calls": [call]})).texts

    assert (text.field, text.role) == ("messages[0].tool_calls", "assistant")
    assert text.query.text.split("\n") == ["call_1", "f", r'{"a": "\u006bill"}', '{"a": "kill"}']


def test_results_of_tools_are_judged_decoded_too() -> None:
    prompt = read(ask({"role": "tool", "tool_call_id": "call_1", "content": r'{"a": "\u006bill"}'}))

    assert [text.query.text for text in find(prompt, "kill")] == ['{"a": "kill"}']


KNOWN_SHAPES: JSONObject = {
    "messages": [
        {"role": "system", "content": "a", "name": "b"},
        {"role": "user", "content": [{"type": "text", "text": "c"}, "d"]},
        {
            "role": "assistant",
            "content": None,
            "refusal": "e",
            "tool_calls": [{"id": "1", "function": {"name": "f", "arguments": "{}"}}],
        },
        {"role": "assistant", "function_call": {"name": "f", "arguments": "{}"}, "reasoning_content": "r"},
        {"role": "tool", "tool_call_id": "1", "content": "g"},
        {"role": "ipython", "content": "h", "strange": {"stranger": ["i"]}},
    ],
    "tools": [
        {
            "type": "function",
            "function": {"name": "f", "description": "j", "parameters": {"properties": {"k": {"enum": ["l"]}}}},
        }
    ],
    "functions": [{"name": "f", "description": "m"}],
    "tool_choice": {"type": "function", "function": {"name": "f"}},
    "response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": {"title": "o", "$defs": {"p": {}}}}},
    "structured_outputs": {"choice": ["q"], "regex": "r", "grammar": "s"},
    "guided_json": {"title": "t"},
    "prediction": {"type": "content", "content": [{"type": "text", "text": "u"}]},
    "documents": [{"title": "v", "text": "w"}],
    "data_sources": [{"type": "azure_search", "parameters": {"role_information": "x"}}],
    "web_search_options": {"user_location": {"approximate": {"city": "y"}}},
    "stop": ["z"],
    "user": "aa",
    "metadata": {"bb": "cc"},
    "chat_template_kwargs": {"dd": "ee"},
    "bad_words": ["ff"],
    "logit_bias": {"50256": -100},
    "suffix": "gg",
    "prompt": "hh",
    "input": [{"role": "user", "content": "ii"}],
    "stream_options": {"include_usage": True, "jj": "kk"},
    "safety_identifier": "ll",
    "prompt_cache_key": "mm",
    "mm_processor_kwargs": {"nn": ["oo"]},
    "temperature": 0.5,
    "unheard_of": [[["pp"]], {"qq": {"rr": None}}],
}


def places(value: JSON, path: tuple[str | int, ...] = ()) -> list[tuple[tuple[str | int, ...], bool]]:
    """The path of every string, and of every key of an object."""
    if isinstance(value, str):
        return [(path, False)]
    found: list[tuple[tuple[str | int, ...], bool]] = []
    if isinstance(value, list):
        for i, element in enumerate(value):
            found += places(element, (*path, i))
    elif isinstance(value, dict):
        for key, element in value.items():
            found += [((*path, key), True), *places(element, (*path, key))]
    return found


def with_word(body: JSONObject, path: tuple[str | int, ...], *, key: bool) -> JSONObject:
    """*body* with `WORD` in place of a string, or as one more key beside one."""
    body = copy.deepcopy(body)
    at: JSON = body
    for step in path[:-1]:
        at = at[step]  # type: ignore[index]  # the path exists
    at[WORD if key else path[-1]] = at[path[-1]] if key else WORD  # type: ignore[index]  # the path exists
    return body


@pytest.mark.parametrize(("path", "key"), places(KNOWN_SHAPES))
def test_a_word_in_any_string_or_key_of_a_request_is_judged(path: tuple[str | int, ...], *, key: bool) -> None:
    found = find(read(with_word(KNOWN_SHAPES, path, key=key)))

    field = (
        f"messages[{path[1]}]" if path[0] == "messages" and len(path) > 1 else WORD if key and len(path) == 1 else path[0]
    )
    assert {text.field.split(".")[0] for text in found} == {field}


field_names = (
    st.sampled_from(["content", "text", "type", "name", "tools", "description", "stop", "metadata", "reasoning"]) | st.text()
)
leaves = st.none() | st.booleans() | st.integers() | st.sampled_from([WORD, "", "text", f"a {WORD}"])
values: st.SearchStrategy[JSON] = st.recursive(
    leaves, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(field_names, inner, max_size=4), max_leaves=12
)


@given(
    st.lists(
        st.dictionaries(field_names, values, max_size=4).map(lambda extra: {"content": "hi", **extra, "role": "user"}),
        min_size=1,
        max_size=3,
    ),
    st.dictionaries(field_names, values, max_size=4),
)
def test_whatever_the_shape_a_word_is_judged_or_its_place_is_named_or_refused(
    messages: list[JSON], fields: JSONObject
) -> None:
    body: JSONObject = {**fields, "messages": messages}
    try:
        prompt = read(body)
    except RequestError:
        return
    shown = sum(text.query.text.count(WORD) for text in prompt.texts)
    sent = str(body).count(WORD)
    hidden = sum(
        str(message.get(name)).count(WORD)
        for message in messages
        if isinstance(message, dict)
        for name in ("audio", "image")
    )
    assert shown >= sent - hidden


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "messages"),
        ({"messages": None}, "messages"),
        ({"messages": "hi"}, "messages"),
        ({"messages": []}, "messages"),
        ({"messages": ["hi"]}, "messages[0]"),
        ({"messages": [{"content": "hi"}]}, "messages[0].role"),
        ({"messages": [{"role": 5, "content": "hi"}]}, "messages[0].role"),
        (ask(user("hi"), user(5)), "messages[1].content"),
        (ask({"role": "user"}), "messages[0].content"),
        (ask(user({"text": "hi"})), "messages[0].content"),
        (ask(user([5])), "messages[0].content[0]"),
        (ask(user([["hi"]])), "messages[0].content[0]"),
        (ask(user([{"type": "text"}])), "messages[0].content[0].text"),
        (ask(user([{"type": "text", "text": ["hi"]}])), "messages[0].content[0].text"),
        (ask(user([{}])), "messages[0].content[0].text"),
    ],
)
def test_a_request_that_cannot_be_understood_is_refused_by_the_name_of_its_field(body: JSON, field: str) -> None:
    with pytest.raises(RequestError) as caught:
        read(body)

    assert (caught.value.status, caught.value.field) == (400, field)
    assert field in caught.value.message


def test_a_model_of_odd_shape_is_judged() -> None:
    assert find(read(ask(user("hi"), model=f"the {WORD}")))[0].field == "model"
    assert len(read(ask(user("hi"), model="gpt-4o")).texts) == 1


def test_the_expected_choices_are_n() -> None:
    assert read(ask(user("hi"), n=3)).choices == 3
