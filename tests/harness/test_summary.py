from __future__ import annotations

import pickle

import pytest

from safety_proxy.harness.cases import Case, ExpectedCategory, ExpectedSide
from safety_proxy.harness.outcome import FoundCategory, FoundSide, Outcome
from safety_proxy.harness.summary import KEPT, Confusion, Summary
from safety_proxy.model import Category

HATE, JAILBREAK = Category.HATE, Category.JAILBREAK


def outcome(
    expected: ExpectedSide | None = None, found: FoundSide | None = None, *, passed: bool = True, side: str = "input"
) -> Outcome:
    case = Case("n", "c:1", {}, **{side: expected})  # type: ignore[arg-type]  # one of the two sides
    sides = {"input": None, "output": None, side: found}
    return Outcome(case, "p@1", sides["input"], sides["output"], () if passed else ("input: x",), seconds=0.5)


def summed(*outcomes: Outcome) -> Summary:
    summary = Summary("p@1")
    for each in outcomes:
        summary.add(each)
    return summary


def test_all_are_counted_and_those_that_failed_are_kept() -> None:
    bad = outcome(passed=False)
    summary = summed(outcome(), bad, outcome())
    assert (summary.total, summary.failed, summary.failures, summary.seconds) == (3, 1, [bad], 1.5)


def test_no_more_failures_are_kept_than_people_read() -> None:
    summary = summed(*[outcome(passed=False)] * (KEPT + 1))
    assert (summary.failed, len(summary.failures)) == (KEPT + 1, KEPT)


def test_decisions_are_counted_by_what_was_expected() -> None:
    allow, filtered = FoundSide("allow"), FoundSide("filter")
    summary = summed(
        outcome(ExpectedSide("allow"), allow),
        outcome(ExpectedSide("allow"), filtered),
        outcome(ExpectedSide("allow"), filtered),
        outcome(ExpectedSide("filter"), allow, side="output"),
        outcome(None, allow),
        outcome(ExpectedSide(), allow),
    )
    assert summary.decisions == {
        ("input", "allow", "allow"): 1,
        ("input", "allow", "filter"): 2,
        ("output", "filter", "allow"): 1,
    }


def test_severities_are_counted_where_a_decision_is_expected() -> None:
    found = FoundSide(
        "allow", {HATE: FoundCategory(filtered=False, severity=3), JAILBREAK: FoundCategory(False, None, True)}
    )
    summary = summed(*[outcome(ExpectedSide("filter"), found)] * 2, outcome(ExpectedSide(), found))
    assert summary.severities == {("input", HATE): {("filter", 3): 2}}


@pytest.mark.parametrize(
    ("wanted", "found", "place"),
    [
        (ExpectedCategory(filtered=True), FoundCategory(filtered=True), "true_positives"),
        (ExpectedCategory(filtered=True), FoundCategory(filtered=False, detected=True), "false_negatives"),
        (ExpectedCategory(filtered=True), None, "false_negatives"),
        (ExpectedCategory(filtered=False), FoundCategory(filtered=True), "false_positives"),
        (ExpectedCategory(filtered=False), None, "true_negatives"),
        (ExpectedCategory(detected=True), FoundCategory(filtered=False, detected=True), "true_positives"),
        (ExpectedCategory(detected=True, filtered=False), FoundCategory(filtered=False, detected=True), "true_negatives"),
    ],
)
def test_categories_are_counted_where_it_is_said_whether_they_filter(
    wanted: ExpectedCategory, found: FoundCategory | None, place: str
) -> None:
    side = FoundSide("allow", {} if found is None else {JAILBREAK: found})
    summary = summed(outcome(ExpectedSide(None, {JAILBREAK: wanted, HATE: ExpectedCategory(min_severity=1)}), side))
    assert summary.categories == {("input", JAILBREAK): Confusion(**{place: 1})}


def test_numbers_say_how_good_a_filter_is() -> None:
    confusion = Confusion(true_positives=3, false_positives=1, false_negatives=2, true_negatives=4)
    assert confusion.total == 10
    assert (confusion.precision, confusion.recall) == (3 / 4, 3 / 5)
    assert confusion.f1 == pytest.approx(2 * (3 / 4) * (3 / 5) / (3 / 4 + 3 / 5))


def test_where_nothing_was_found_or_wanted_there_is_no_number() -> None:
    assert (Confusion().precision, Confusion().recall, Confusion().f1) == (None, None, None)
    assert Confusion(true_negatives=5).f1 is None
    assert Confusion(false_negatives=1).precision is None


def test_a_summary_can_travel_between_processes() -> None:
    summary = summed(outcome(ExpectedSide("allow"), FoundSide("allow", {HATE: FoundCategory(filtered=False, severity=0)})))
    assert pickle.loads(pickle.dumps(summary)) == summary  # noqa: S301 - our own
