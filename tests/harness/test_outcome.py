from __future__ import annotations

import pytest

from safety_proxy.harness.cases import Case, ExpectedCategory, ExpectedSide
from safety_proxy.harness.outcome import FoundCategory, FoundSide, FoundSpan, Outcome, faults_of
from safety_proxy.model import Action, Annotation, Category, Decision

HATE, JAILBREAK, VIOLENCE = Category.HATE, Category.JAILBREAK, Category.VIOLENCE
FOUND = FoundSide(
    "filter",
    {
        HATE: FoundCategory(filtered=True, severity=4),
        VIOLENCE: FoundCategory(filtered=False, severity=1),
        JAILBREAK: FoundCategory(filtered=False, detected=True),
    },
    {"rivals": True, "told": False},
)


def faults(expected: ExpectedSide | None, found: FoundSide | None = FOUND) -> list[str]:
    return list(faults_of("input", expected, found))


def category(**expected: object) -> ExpectedSide:
    return ExpectedSide(None, {HATE: ExpectedCategory(**expected)})  # type: ignore[arg-type]  # of several types


@pytest.mark.parametrize(("action", "word"), [(Action.ALLOW, "allow"), (Action.FILTER, "filter"), (Action.FAIL, "error")])
def test_what_the_engine_decided_is_told_in_the_words_of_cases(action: Action, word: str) -> None:
    decision = Decision(action, {HATE: Annotation(filtered=True, severity=4)}, {"a": True}, "timeout")
    span = FoundSpan("text", 0, 3, "hate", "embedded")
    found = FoundSide.of(decision, (span,))
    assert found == FoundSide(word, {HATE: FoundCategory(filtered=True, severity=4)}, {"a": True}, "timeout", (span,))


def test_what_is_not_expected_is_not_looked_at() -> None:
    assert faults(None) == []
    assert faults(ExpectedSide()) == []
    assert faults(category()) == []


def test_what_is_as_expected_is_no_fault() -> None:
    expected = ExpectedSide(
        "filter",
        {
            HATE: ExpectedCategory(filtered=True, min_severity=4, max_severity=4),
            JAILBREAK: ExpectedCategory(filtered=False, detected=True),
        },
        ("rivals", "told"),
    )
    assert faults(expected) == []


def test_another_decision_is_told_with_what_led_to_it() -> None:
    assert faults(ExpectedSide("allow")) == [
        "input: expected allow, got filter (hate 4, jailbreak, blocklist rivals)",
    ]
    assert faults(ExpectedSide("allow"), FoundSide("error", error="timeout")) == [
        "input: expected allow, got error (timeout)"
    ]
    assert faults(ExpectedSide("filter"), FoundSide("allow")) == ["input: expected filter, got allow"]


@pytest.mark.parametrize(
    ("expected", "fault"),
    [
        (category(filtered=False), "input: expected hate filtered=false, got true"),
        (category(detected=True), "input: expected hate detected=true, got nothing"),
        (category(min_severity=5), "input: expected hate severity of at least 5, got 4"),
        (category(max_severity=3), "input: expected hate severity of at most 3, got 4"),
        (ExpectedSide(blocklists=("other",)), "input: expected the blocklist other to match"),
    ],
)
def test_each_thing_that_is_not_as_expected_is_a_fault(expected: ExpectedSide, fault: str) -> None:
    assert faults(expected) == [fault]


@pytest.mark.parametrize("expected", [{"filtered": False}, {"detected": False}, {"min_severity": 0}, {"max_severity": 7}])
def test_what_was_not_judged_is_never_as_expected(expected: dict[str, object]) -> None:
    (fault,) = faults(category(**expected), FoundSide("allow"))
    assert fault.endswith("got nothing")


def test_a_side_that_is_not_there_is_never_as_expected() -> None:
    assert faults(ExpectedSide("allow"), None) == ["input: expected something, and there is nothing to judge"]
    assert faults(None, None) == []


def test_an_outcome_passes_without_faults() -> None:
    case = Case("n", "c:1", {})
    assert Outcome(case, "p@1", None, None).passed
    assert not Outcome(case, "p@1", None, None, ("input: x",)).passed


def test_outcomes_are_equal_however_long_they_took() -> None:
    case = Case("n", "c:1", {})
    assert Outcome(case, "p@1", None, None, seconds=1.0) == Outcome(case, "p@1", None, None, seconds=2.0)
