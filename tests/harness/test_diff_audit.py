"""Claims about recorded traffic: what of an audit log is judged again, and what its decisions tell."""

from __future__ import annotations

import asyncio
import io
import sys
from collections import Counter
from pathlib import Path

import pytest

from safety_proxy.dialects.evaluation_stages import summary
from safety_proxy.documents import parse
from safety_proxy.errors import ConfigError
from safety_proxy.harness.cases import Case
from safety_proxy.harness.diff import Comparison, Diff
from safety_proxy.harness.diff_audit import (
    CUT,
    NO_CONTENT,
    NO_INPUT,
    NO_SHADOW,
    OTHER_POLICIES,
    TORN,
    UNDECIDED,
    audit_cases,
    read_lines,
    shadow_diffs,
)
from safety_proxy.model import JSON, Action, Annotation, Category, Decision, JSONObject
from safety_proxy.policy import Policy
from safety_proxy.policy_file import load
from safety_proxy.testing import ScriptedClassifier

CHAT: JSONObject = {"model": "m", "messages": [{"role": "user", "content": "Hi"}], "stream": True, "n": 1}


def policy(name: str, text: str = "") -> Policy:
    return load(parse(f"version: 1\nname: {name}\nclassifiers: [scripted]\n{text}\n", f"{name}.yaml"))


MEDIUM, HIGH = policy("medium"), policy("high", "input: {hate: {block_at: high}}\noutput: {hate: {block_at: high}}")


def line(request: JSON, completion: JSON = None, form: str = "full") -> tuple[str, JSONObject]:
    return "a.jsonl:1", {"request_id": "r1", "content": {"form": form, "request": request, "completion": completion}}


def cases(*lines: tuple[str, JSONObject]) -> tuple[list[Case], Counter[str]]:
    skipped = Counter[str]()
    return list(audit_cases(lines, skipped)), skipped


# -------------------------------------------------------------------------------------------------------------- lines


def test_lines_are_read_in_order_with_their_places_and_torn_ones_are_counted(tmp_path: Path) -> None:
    file = tmp_path / "audit.jsonl"
    file.write_bytes(b'{"a": 1}\n\n{"b": \n[1]\n\xff\n{"c": 3}\n{"d": 4, "tor')
    skipped = Counter[str]()
    assert list(read_lines([str(file)], skipped)) == [(f"{file}:1", {"a": 1}), (f"{file}:6", {"c": 3})]
    assert skipped == {TORN: 4}


def test_a_dash_is_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b'{"a": 1}\n')))
    assert list(read_lines(["-"], Counter())) == [("-:1", {"a": 1})]


def test_a_file_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="nowhere: cannot be read"):
        list(read_lines([str(tmp_path / "nowhere")], Counter()))


# ------------------------------------------------------------------------------------------------------- judged again


def test_a_chat_request_is_a_case_with_all_its_fields_and_its_completion() -> None:
    said: JSON = [{"role": "assistant", "content": "Hello"}]
    ((case,), skipped) = cases(line({**CHAT, "tools": [], "id": "x", "policy": "p"}, said))
    assert (case.name, case.place) == ("r1", "a.jsonl:1")
    assert case.body == {**CHAT, "tools": [], "completion": said}
    assert (case.input, case.output, skipped) == (None, None, {})


def test_a_text_request_is_a_case() -> None:
    ((case,), _) = cases(line({"prompt": ["a", "b"], "max_tokens": 5}, ["c", None, "d"]))
    assert case.body == {"prompt": ["a", "b"], "max_tokens": 5, "completion": ["c", "d"]}


def test_an_evaluation_is_a_case_with_the_completion_that_it_came_with() -> None:
    ((case,), _) = cases(line({"text": "Hi", "completion": "Hello", "id": "x"}))
    assert case.body == {"text": "Hi", "completion": "Hello"}


def test_a_request_without_a_completion_is_a_case() -> None:
    nothings: list[JSON] = [None, [], [None]]
    for nothing in nothings:
        ((case,), _) = cases(line(CHAT, nothing))
        assert case.body == CHAT


@pytest.mark.parametrize(
    ("recorded", "why"),
    [
        ({"request_id": "r", "content": None}, NO_CONTENT),
        ({"request_id": "r"}, NO_CONTENT),
        (line([{"field": "text", "sha256": "00"}], form="hash")[1], NO_CONTENT),
        (line(CHAT, form="redacted")[1], NO_CONTENT),
        (line({"input": "to embed"})[1], NO_INPUT),
        (line({**CHAT, "messages": ["long[200 characters cut]"]})[1], CUT),
        (line(CHAT, [{"content": "x", "[cut]": "[7 characters cut]"}])[1], CUT),
    ],
)
def test_what_cannot_be_judged_again_is_counted_with_the_reason(recorded: JSONObject, why: str) -> None:
    found, skipped = cases(("a.jsonl:1", recorded))
    assert (found, skipped) == ([], {why: 1})


def test_recorded_requests_are_judged_by_both_policies() -> None:
    found, skipped = cases(line(CHAT, [{"role": "assistant", "content": "a slur"}]), line({"prompt": 7}))
    comparison = Comparison(MEDIUM, HIGH, {"scripted": ScriptedClassifier({"a slur": (Category.HATE, 4)})})
    diff = asyncio.run(comparison.run(found, skipped=skipped))
    assert diff.directions == {"looser": 1}
    assert str(diff.first_looser) == 'a.jsonl:1  "r1"  output: filter -> allow (hate 4: medium -> high)'
    assert (diff.cases, skipped.total()) == (1, 1)


# ------------------------------------------------------------------------------------------------------- decided already

FILTERED = Decision(Action.FILTER, {Category.HATE: Annotation(filtered=True, severity=4)})
ALLOWED = Decision(Action.ALLOW, {Category.HATE: Annotation(filtered=False, severity=4)})
FAILED = Decision(Action.FAIL, error="timeout")


def stage(decision: Decision, by: Policy) -> JSONObject:
    """As the audit log has it."""
    return summary(decision, [by.input])


def shadowed(enforced: JSON, shadow: JSON, *, side: str = "input", names: tuple[str, str] | None = None) -> JSONObject:
    a, b = names or (MEDIUM.identity, HIGH.identity)
    other: JSONObject = {"policy": b, "decision": "allow", "input": None, "output": None, side: shadow}
    return {"request_id": "r1", "policy": a, "input": None, "output": None, side: enforced, "shadow": other}


def diffs(*recorded: JSONObject, pair: tuple[Policy, Policy] | None = None) -> tuple[list[Diff], Counter[str]]:
    skipped = Counter[str]()
    lines = ((f"a.jsonl:{number}", each) for number, each in enumerate(recorded, 1))
    return shadow_diffs(lines, skipped, pair=pair), skipped


def test_recorded_decisions_are_compared_with_the_thresholds_that_the_lines_tell() -> None:
    ((diff,), skipped) = diffs(shadowed(stage(FILTERED, MEDIUM), stage(ALLOWED, HIGH)))
    assert (diff.a, diff.b, diff.rules, skipped) == (MEDIUM.identity, HIGH.identity, (), {})
    assert str(diff.first_looser) == 'a.jsonl:1  "r1"  input: filter -> allow (hate 4: medium -> high)'


def test_policies_that_are_at_hand_tell_their_rules() -> None:
    ((diff,), _) = diffs(shadowed(stage(FILTERED, MEDIUM), stage(ALLOWED, HIGH)), pair=(MEDIUM, HIGH))
    assert [change.key for change in diff.rules] == ["input.hate.block_at", "output.hate.block_at"]
    assert str(diff.first_looser).endswith("(hate 4: medium -> high)")


def test_of_several_choices_the_strictest_decision_counts() -> None:
    enforced: JSON = {"choices": [stage(ALLOWED, MEDIUM), stage(FILTERED, MEDIUM)]}
    shadow: JSON = {"choices": [stage(ALLOWED, HIGH), stage(ALLOWED, HIGH)]}
    ((diff,), _) = diffs(shadowed(enforced, shadow, side="output"))
    assert list(diff.groups) == [("looser", "output", "hate")]


def test_a_missing_verdict_is_a_difference_too() -> None:
    ((diff,), _) = diffs(shadowed(stage(ALLOWED, MEDIUM), stage(FAILED, HIGH)))
    assert list(diff.groups) == [("stricter", "input", "no verdict")]


def test_a_request_that_could_not_be_judged_is_told_as_such() -> None:
    unreadable = Decision(Action.FAIL, error="unsupported_content")
    ((diff,), _) = diffs(shadowed(stage(unreadable, MEDIUM), stage(ALLOWED, HIGH)))
    assert str(diff.first_looser).endswith("input: unsupported_content -> allow (unreadable content)")


def test_a_list_is_told_by_its_name() -> None:
    blocked, noted = (Decision(Action.FILTER if x else Action.ALLOW, blocklists={"house": x}) for x in (True, False))
    ((diff,), _) = diffs(shadowed(stage(blocked, MEDIUM), stage(noted, HIGH)))
    assert str(diff.first_looser).endswith("(blocklist house: block -> annotate)")


def test_each_two_policies_have_a_diff_of_their_own() -> None:
    alike = stage(ALLOWED, MEDIUM)
    found, _ = diffs(shadowed(alike, alike, names=("a", "b")), shadowed(alike, alike, names=("a", "c")))
    assert [(diff.a, diff.b, diff.cases, diff.different) for diff in found] == [("a", "b", 1, 0), ("a", "c", 1, 0)]


def test_lines_of_other_policies_than_those_asked_for_are_counted() -> None:
    alike = stage(ALLOWED, MEDIUM)
    found, skipped = diffs(shadowed(alike, alike, names=("a@1", "b@2")), pair=(MEDIUM, HIGH))
    assert (found, skipped) == ([], {f"{OTHER_POLICIES}: a@1, shadow b@2": 1})


@pytest.mark.parametrize(
    ("recorded", "why"),
    [
        ({"policy": "a@1", "shadow": None}, NO_SHADOW),
        ({"policy": "a@1", "shadow": {"decision": "allow"}}, NO_SHADOW),
        (shadowed(stage(ALLOWED, MEDIUM), None), UNDECIDED),
        (shadowed(None, stage(ALLOWED, HIGH)), UNDECIDED),
        (shadowed({"decision": "maybe"}, {"decision": "block"}), UNDECIDED),
        (shadowed({"choices": []}, {"choices": []}, side="output"), UNDECIDED),
    ],
)
def test_what_tells_no_two_decisions_is_counted_with_the_reason(recorded: JSONObject, why: str) -> None:
    assert diffs(recorded) == ([], {why: 1})
