"""Evaluations: what is read as input and as completion, and how the answer is put together."""

from __future__ import annotations

import pytest

from safety_proxy.dialects.chat_completions import ChatCompletions
from safety_proxy.dialects.completions import Completions
from safety_proxy.dialects.evaluation import (
    MAX_COMPLETION,
    MAX_EVALUATIONS,
    Evaluated,
    batch_of,
    id_of,
    read_evaluation,
    tell,
)
from safety_proxy.dialects.evaluation_stages import InputStage, JudgedChoice, OutputStage
from safety_proxy.documents import parse
from safety_proxy.errors import RequestError
from safety_proxy.events import Chunk
from safety_proxy.model import ALLOWED, JSON, Action, Category, Decision, Kind
from safety_proxy.policy_file import load

POLICY = load(parse("version: 1\nname: one\nclassifiers: [a]\n", "policy.yaml"))
CALL = {"id": "c", "type": "function", "function": {"name": "mail", "arguments": '{"to": "Bob"}'}}


def said(evaluation_choices: tuple[Chunk, ...]) -> list[list[tuple[str, str]]]:
    return [[(segment.channel, segment.text) for segment in chunk.segments] for chunk in evaluation_choices]


# ------------------------------------------------------------------------------------------------------------ requests


def test_a_text_is_a_users_prompt() -> None:
    asked = read_evaluation({"id": "7", "policy": "strict", "text": "Hi"})

    assert (asked.id, asked.policy, asked.choices) == ("7", "strict", ())
    assert asked.prompt is not None
    assert [(t.query.text, t.query.kind, t.role, t.field) for t in asked.prompt.texts] == [
        ("Hi", Kind.USER_PROMPT, "user", "text")
    ]


def test_messages_are_read_as_a_chat_request_is_with_all_its_other_fields() -> None:
    request: dict[str, JSON] = {
        "messages": [{"role": "user", "content": "Hi"}, {"role": "tool", "content": "sunny"}],
        "tools": [{"type": "function", "function": {"name": "weather", "description": "Tells the weather"}}],
        "documents": [{"text": "a document"}],
        "n": 2,
    }
    asked = read_evaluation({"id": "7", "policy": "p", "completion": "Hello", "text": None, **request})

    assert asked.prompt == ChatCompletions().read_request(request).prompt


@pytest.mark.parametrize("prompt", ["one", ["one", "two"]])
def test_a_prompt_is_read_as_a_text_completion_is(prompt: JSON) -> None:
    asked = read_evaluation({"prompt": prompt, "suffix": "the end", "completion": ["a", "b"]})

    assert asked.prompt == Completions().read_request({"prompt": prompt, "suffix": "the end"}).prompt
    assert said(asked.choices) == [[("text", "a")], [("text", "b")]]


@pytest.mark.parametrize(
    ("completion", "expected"),
    [
        ("Hello", [[("content", "Hello")]]),
        ("", [[]]),
        ({"role": "assistant", "content": "Hello", "refusal": "No"}, [[("content", "Hello"), ("refusal", "No")]]),
        ({"reasoning_content": "Hm", "content": None}, [[("reasoning_content", "Hm")]]),
        (["a", {"content": "b"}], [[("content", "a")], [("content", "b")]]),
        (
            {"tool_calls": [CALL]},
            [[("held", ""), ("tool_call:0.name", "mail"), ("tool_call:0.arguments", '{"to": "Bob"}')]],
        ),
    ],
)
def test_a_completion_is_a_text_a_message_or_several(completion: JSON, expected: list[list[tuple[str, str]]]) -> None:
    asked = read_evaluation({"completion": completion})

    assert asked.prompt is None
    assert said(asked.choices) == expected
    assert {(chunk.choice, chunk.finished) for chunk in asked.choices} == {(0, True)}


def test_fields_of_a_message_that_nobody_knows_are_judged_too() -> None:
    (chunk,) = read_evaluation({"completion": {"content": "Hi", "mood": "grim"}}).choices

    assert chunk.strings == ("mood", "grim")


@pytest.mark.parametrize(
    ("body", "status", "field"),
    [
        ([], 400, None),
        ({}, 400, "text"),
        ({"id": 7, "text": "a"}, 400, "id"),
        ({"policy": 7, "text": "a"}, 400, "policy"),
        ({"text": ["a"]}, 400, "text"),
        ({"text": "a", "messages": []}, 400, "messages"),
        ({"messages": [], "prompt": "a"}, 400, "prompt"),
        ({"messages": []}, 400, "messages"),
        ({"messages": [{"role": "user"}]}, 400, "messages[0].content"),
        ({"messages": [{"role": "user", "content": "a"}], "n": 0}, 400, "n"),
        ({"prompt": []}, 400, "prompt"),
        ({"text": "a", "completon": "b"}, 400, "completon"),
        ({"completion": "b", "tools": []}, 400, "tools"),
        ({"completion": []}, 400, "completion"),
        ({"completion": ["a"] * 129}, 400, "completion"),
        ({"completion": 7}, 400, "completion"),
        ({"completion": ["a", None]}, 400, "completion[1]"),
        ({"prompt": "a", "completion": {"content": "b"}}, 400, "completion"),
        ({"completion": "x" * (MAX_COMPLETION + 1)}, 413, "completion"),
        ({"completion": ["x" * (MAX_COMPLETION // 2 + 1)] * 2}, 413, "completion"),
        ({"completion": {"notes": "x" * MAX_COMPLETION}}, 413, "completion"),
    ],
)
def test_what_is_wrong_is_named(body: JSON, status: int, field: str | None) -> None:
    with pytest.raises(RequestError) as caught:
        read_evaluation(body)

    assert (caught.value.status, caught.value.field) == (status, field)


def test_a_completion_may_be_as_long_as_the_limit() -> None:
    assert len(read_evaluation({"completion": "x" * MAX_COMPLETION}).choices) == 1


def test_several_evaluations_stand_in_an_array() -> None:
    assert batch_of({"text": "a"}) is None
    assert batch_of({"evaluations": [{"text": "a"}, 7]}) == [{"text": "a"}, 7]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ([], None),
        ({"evaluations": []}, "evaluations"),
        ({"evaluations": None}, "evaluations"),
        ({"evaluations": [{}] * (MAX_EVALUATIONS + 1)}, "evaluations"),
        ({"evaluations": [{}], "policy": "strict"}, "policy"),
    ],
)
def test_what_is_wrong_with_several_evaluations_is_named(body: JSON, field: str | None) -> None:
    with pytest.raises(RequestError) as caught:
        batch_of(body)

    assert caught.value.field == field


@pytest.mark.parametrize(("body", "identity"), [({"id": "7"}, "7"), ({"id": 7}, None), ({}, None), ("7", None)])
def test_an_evaluation_that_cannot_be_read_is_known_by_its_id(body: JSON, identity: str | None) -> None:
    assert id_of(body) == identity


# ------------------------------------------------------------------------------------------------------------- answers


def test_only_the_stages_that_were_asked_for_are_told() -> None:
    whole = Evaluated((POLICY,), "one@1", ("a@2",), InputStage(ALLOWED, ()), OutputStage([]))
    only = Evaluated((POLICY,), "one@1", ("a@2",), InputStage(ALLOWED, ()))

    told = tell("7", whole)
    assert {key: told[key] for key in ("id", "object", "policy", "classifiers", "decision")} == {
        "id": "7",
        "object": "policy.evaluation",
        "policy": "one@1",
        "classifiers": ["a@2"],
        "decision": "allow",
    }
    assert [*told["stages"]] == ["input", "output"]  # type: ignore[misc]  # an object
    assert [*tell(None, only)["stages"]] == ["input"]  # type: ignore[misc]  # an object


@pytest.mark.parametrize(
    ("prompt", "completion", "word"),
    [
        (Action.ALLOW, Action.ALLOW, "allow"),
        (Action.FAIL, Action.ALLOW, "error"),
        (Action.ALLOW, Action.FILTER, "block"),
        (Action.FILTER, Action.FAIL, "block"),
    ],
)
def test_the_strictest_stage_decides(prompt: Action, completion: Action, word: str) -> None:
    choice = JudgedChoice(Chunk(0, {}), Decision(completion), ())
    evaluated = Evaluated((POLICY,), "one@1", (), InputStage(Decision(prompt), ()), OutputStage([choice]))

    assert tell(None, evaluated)["decision"] == word


def test_gaps_of_both_stages_are_told() -> None:
    choice = JudgedChoice(Chunk(0, {}), ALLOWED, ())
    told = tell(None, Evaluated((POLICY,), "one@1", (), InputStage(ALLOWED, ()), OutputStage([choice])))

    missed = told["not_evaluated"]
    assert isinstance(missed, list)
    assert {"stage": "input", "what": "category", "name": Category.HATE.value, "reason": "not_applicable"} in missed
    assert {"stage": "output", "what": "classifier", "name": "a", "reason": "not_applicable"} in missed
