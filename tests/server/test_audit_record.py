"""The parts of a line that need no server."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safety_proxy.events import Annotate, Chunk, End, Failure, Finish, Frame, Offsets, Release, Segment
from safety_proxy.jsontext import as_object, write
from safety_proxy.model import ALLOWED, JSON, Action, Annotation, Category, Decision, JSONObject
from safety_proxy.server.audit_record import (
    MOST_GAPS,
    Gaps,
    Head,
    Stages,
    Tally,
    gap,
    known_path,
    reason_of,
    record,
    tell_shadow,
)

HEAD = Head(0.0, "r", "/v1", "m", None, "completions", stream=False, policy="p@1")
BLOCKED = Decision(Action.FILTER, {Category.HATE: Annotation(True, 6)})
MILD = Decision(Action.ALLOW, {Category.HATE: Annotation(False, 2), Category.JAILBREAK: Annotation(False, detected=False)})


def said(text: str, *, choice: int = 0, finish: JSON = None) -> Chunk:
    payload: JSONObject = {"choices": [{"finish_reason": finish}]}
    return Chunk(choice, payload, (Segment("content", text),), finished=finish is not None)


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("messages[2].content", "messages[2].content"),
        ("messages[0].content[1].text", "messages[0].content[1].text"),
        ("metadata.my secret", "metadata.*"),
        ("zebra", "*"),
        ("messages[0].zebra.quokka", "messages[0].*.*"),
        ("messages[0] zebra", "*"),
        ("tools", "tools"),
        ("chat_template_kwargs.chat_template", "chat_template_kwargs.chat_template"),
        ("", "*"),
    ],
)
def test_only_words_of_the_formats_are_named(path: str, told: str) -> None:
    assert known_path(path) == told


def test_what_was_not_evaluated_is_told_once_and_not_what_the_policy_leaves_out() -> None:
    gaps = Gaps()
    for _ in range(2):
        gaps.add([gap("output", "classifier", "c", "timeout"), gap("output", "category", "hate", "off")])
    assert gaps.tell() == [gap("output", "classifier", "c", "timeout")]


def test_entries_are_bounded_and_the_rest_is_counted() -> None:
    gaps = Gaps()
    gaps.add(gap("input", "field", f"messages[{i}].content", "role") for i in range(MOST_GAPS + 7))
    told = gaps.tell()
    assert len(told) == MOST_GAPS + 1
    assert told[-1] == gap("input", "field", "7 more", "cut")


def test_a_choice_is_told_with_all_that_was_found_in_it() -> None:
    tally = Tally()
    tally.shown([Release(said("a"), (MILD,)), Release(Frame({})), Finish(0, BLOCKED)])
    tally.shown([Release(said("b", choice=1, finish="stop"), (MILD,)), End()])
    choices = tally.tell([])["choices"]
    assert isinstance(choices, list)
    first, second = map(as_object, choices)
    assert first["finish_reason"] == "content_filter"
    assert as_object(as_object(first["categories"])["jailbreak"])["detected"] is False
    assert (second["finish_reason"], second["decision"]) == ("stop", "allow")
    assert tally.decision.action is Action.FILTER


def test_what_is_told_apart_from_the_text_counts_too() -> None:
    tally = Tally()
    tally.shown([Release(said("a"), None), Annotate(0, MILD, Offsets(0, 0, 1)), Finish(0, BLOCKED, Offsets(1, 1, 2))])
    assert tally.choices[0].decision.annotations.keys() == {Category.HATE, Category.JAILBREAK}


def test_a_stream_that_broke_off_ends_its_open_choices_in_an_error() -> None:
    tally = Tally()
    tally.shown([Release(said("a", finish="stop"), ()), End(Failure("x", "backend_timeout"), (1,))])
    assert (tally.choices[0].finish_reason, tally.choices[1].finish_reason) == ("stop", "error")
    assert tally.failure == "backend_timeout"


@pytest.mark.parametrize(("told", "expected"), [("stop", "stop"), ("I hate", "other"), (7, "other"), (None, None)])
def test_a_backends_reason_is_a_known_word_or_other(told: JSON, expected: str | None) -> None:
    assert reason_of(said("a", finish=told)) == expected
    assert reason_of(Chunk(0, {"finish_reason": told})) == expected


@pytest.mark.parametrize(
    ("stages", "off", "expected"),
    [
        (Stages((), ALLOWED), False, "allow"),
        (Stages((), BLOCKED), False, "block"),
        (Stages((), Decision(Action.FAIL, error="timeout")), False, "error"),
        (Stages(()), False, "error"),
        (Stages(()), True, "allow"),
    ],
)
def test_the_decision_is_the_strictest_and_nothing_decided_is_an_error(stages: Stages, off: bool, expected: str) -> None:
    assert stages.decision(off=off) == expected


def test_the_output_counts_for_the_decision() -> None:
    tally = Tally()
    tally.shown([Finish(0, BLOCKED)])
    assert Stages((), ALLOWED, tally).decision() == "block"


def test_a_line_without_anything_has_every_field_but_content() -> None:
    told = record(HEAD, Stages(()), [], None, {})
    assert [*told] == [
        *("time", "request_id", "route", "deployment", "key", "dialect", "stream", "policy", "classifiers"),
        *("decision", "input", "output", "not_evaluated", "shadow"),
    ]
    assert told["time"] == "1970-01-01T00:00:00.000Z"
    assert tell_shadow("p@2", None) == {"policy": "p@2", "decision": None, "input": None, "output": None}


@given(st.floats(0, 4e9), st.text(), st.lists(st.sampled_from([ALLOWED, MILD, BLOCKED]), max_size=3))
def test_a_line_is_one_line_of_json(time: float, key: str, decisions: list[Decision]) -> None:
    tally = Tally()
    tally.shown(Finish(i, decision) for i, decision in enumerate(decisions))
    head = Head(time, "r", "/v1", "m", key.encode(errors="replace").decode(), "completions", stream=True, policy="p")
    line = write(record(head, Stages((), ALLOWED, tally), [], None, {}))
    assert b"\n" not in line
    assert len(json.loads(line)["output"]["choices"]) == len(decisions)
