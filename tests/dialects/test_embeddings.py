"""Embeddings: every input is a prompt; of an answer only numbers pass unread."""

from __future__ import annotations

import base64
import struct

import pytest

from safety_proxy.dialects.embeddings import Embeddings
from safety_proxy.errors import BackendError, RequestError
from safety_proxy.model import JSON, JSONObject, Kind

FORMAT = Embeddings()


def packed(*numbers: float) -> str:
    return base64.b64encode(struct.pack(f"<{len(numbers)}f", *numbers)).decode()


def answer(embedding: JSON = None, **more: JSON) -> JSONObject:
    element: JSONObject = {"object": "embedding", "index": 0, "embedding": [0.5, -1] if embedding is None else embedding}
    usage: JSONObject = {"prompt_tokens": 1, "total_tokens": 1}
    return {"object": "list", "data": [element], "model": "m", "usage": usage, **more}


# ------------------------------------------------------------------------------------------------------------ requests


def test_each_input_is_a_prompt_of_its_own() -> None:
    asked = FORMAT.read_request({"input": ["one", "two"], "model": "m"})
    assert [(t.query.text, t.field, t.prompt_index) for t in asked.prompt.texts] == [
        ("one", "input[0]", 0),
        ("two", "input[1]", 1),
    ]
    assert {t.query.kind for t in asked.prompt.texts} == {Kind.USER_PROMPT}
    assert (asked.prompt.prompts, asked.prompt.choices, asked.model, asked.stream) == (2, 0, "m", False)


def test_an_input_that_is_one_string_is_one_prompt() -> None:
    prompt = FORMAT.read_request({"input": "one"}).prompt
    assert ([t.query.text for t in prompt.texts], prompt.prompts) == (["one"], 1)


@pytest.mark.parametrize(("given", "field", "prompts"), [([1, 2], "input", 1), (["a", [1, 2]], "input[1]", 2)])
def test_token_ids_are_unreadable(given: JSON, field: str, prompts: int) -> None:
    prompt = FORMAT.read_request({"input": given}).prompt
    assert (prompt.unreadable, prompt.prompts) == ((field,), prompts)


def test_other_fields_are_judged_but_for_words_of_the_format() -> None:
    body: JSONObject = {
        "input": "a",
        "encoding_format": "base64",
        "dimensions": 3,
        "input_type": "query",
        "user": "who",
        "model": "a model with blanks",
        "chat_template": "{{ x }}",
    }
    prompt = FORMAT.read_request(body).prompt
    assert [t.query.text for t in prompt.texts] == ["a", "who", "a model with blanks"]
    assert prompt.unreadable == ("chat_template",)


@pytest.mark.parametrize("stream", [False, None, "false"])
def test_a_stream_that_is_not_asked_for_does_no_harm(stream: JSON) -> None:
    assert not FORMAT.read_request({"input": "a", "stream": stream}).stream


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ([], None),
        ({}, "input"),
        ({"input": None}, "input"),
        ({"input": []}, "input"),
        ({"input": 5}, "input"),
        ({"input": ["a", {}]}, "input[1]"),
        ({"input": "a", "model": 5}, "model"),
        ({"input": "a", "stream": True}, "stream"),
        ({"input": "a", "stream": "maybe"}, "stream"),
    ],
)
def test_a_wrong_request_is_refused_with_the_field_named(body: JSON, field: str | None) -> None:
    with pytest.raises(RequestError) as caught:
        FORMAT.read_request(body)
    assert (caught.value.status, caught.value.field) == (400, field)


# ------------------------------------------------------------------------------------------------------------- answers


@pytest.mark.parametrize("embedding", [[0.5, -1, 3], packed(0.5, -1.25), packed(*[0.01] * 64)])
def test_numbers_say_nothing(embedding: JSON) -> None:
    sent = answer(embedding)
    read = FORMAT.read_answer(sent)
    assert (read.document, read.strings, read.bare) == (sent, (), sent)


def test_whatever_else_is_said_in_words_is_judged_and_not_part_of_the_bare_answer() -> None:
    sent = answer(note="some words", model="a name with blanks")
    element = sent["data"][0]  # type: ignore[index]  # a list
    element["comment"] = ["more words"]  # type: ignore[index, call-overload]  # of objects
    read = FORMAT.read_answer(sent)

    assert set(read.strings) == {"note", "some words", "a name with blanks", "comment", "more words"}
    assert read.bare == {**answer(), "model": ""}


def test_words_in_the_place_of_usage_do_not_stay() -> None:
    read = FORMAT.read_answer(answer(usage={"prompt_tokens": 1, "total_tokens": "many words"}))
    assert read.strings == ("many words",)
    assert read.bare["usage"] == {"prompt_tokens": 1}
    assert "usage" not in FORMAT.read_answer({"data": answer()["data"]}).bare


def test_a_text_in_the_clothes_of_base64_is_judged() -> None:
    disguised = base64.b64encode(b"these are words, not numbers!!!!").decode()
    assert FORMAT.read_answer(answer(disguised)).strings == ("these are words, not numbers!!!!",)


def test_an_embedding_without_an_index_has_that_of_its_place() -> None:
    read = FORMAT.read_answer({"data": [{"embedding": [1]}, {"embedding": [2]}]})
    assert [element["index"] for element in read.bare["data"]] == [0, 1]  # type: ignore[union-attr, index, call-overload]  # objects


@pytest.mark.parametrize(
    "embedding",
    ["plain words", "", "YQ==", "not/base64", packed(float("nan")), "é", [], ["a"], [True], [[1]], [None], {}, 5],
)
def test_what_is_no_embedding_is_the_backends_fault(embedding: JSON) -> None:
    with pytest.raises(BackendError) as caught:
        FORMAT.read_answer(answer(embedding))
    assert caught.value.code == "backend_invalid_answer"


@pytest.mark.parametrize("element", ["x", {}, {"embedding": [1], "index": "0"}, {"embedding": [1], "index": True}])
def test_an_element_that_cannot_be_read_is_the_backends_fault(element: JSON) -> None:
    with pytest.raises(BackendError):
        FORMAT.read_answer({"data": [element]})


@pytest.mark.parametrize(
    "body", [None, [], {}, {"data": []}, {"data": {}}, answer(error={"message": "x"}), answer(object="error")]
)
def test_an_answer_without_embeddings_is_the_backends_fault(body: JSON) -> None:
    with pytest.raises(BackendError):
        FORMAT.read_answer(body)
