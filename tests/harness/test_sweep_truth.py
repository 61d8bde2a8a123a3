"""Claims about what a case says of categories."""

from __future__ import annotations

import pytest

from safety_proxy.harness.cases import ExpectedCategory, ExpectedSide
from safety_proxy.harness.sweep_truth import truths
from safety_proxy.model import Category

HATE, VIOLENCE, JAILBREAK = Category.HATE, Category.VIOLENCE, Category.JAILBREAK


def test_a_case_that_allows_and_names_nothing_is_benign_in_every_category() -> None:
    assert truths(ExpectedSide("allow"), [HATE, VIOLENCE]) == ({HATE: False, VIOLENCE: False}, True)


@pytest.mark.parametrize("decision", ["filter", "error", "unsupported_content", None])
def test_any_other_decision_tells_nothing_of_a_category(decision: str | None) -> None:
    assert truths(ExpectedSide(decision), [HATE]) == ({}, False)  # type: ignore[arg-type] # words of a file


def test_a_category_that_is_named_is_as_the_case_says_and_others_are_unknown() -> None:
    side = ExpectedSide("filter", {HATE: ExpectedCategory(filtered=True), VIOLENCE: ExpectedCategory(filtered=False)})
    assert truths(side, [*Category]) == ({HATE: True, VIOLENCE: False}, False)


def test_a_case_that_allows_although_something_is_there_is_not_benign() -> None:
    """An attack that the policy only annotates: nothing is said of the other categories."""
    side = ExpectedSide("allow", {JAILBREAK: ExpectedCategory(filtered=False, detected=True)})
    assert truths(side, [HATE, JAILBREAK]) == ({JAILBREAK: True}, False)


def test_a_case_that_allows_and_names_what_is_not_there_is_benign() -> None:
    side = ExpectedSide("allow", {HATE: ExpectedCategory(max_severity=3)})
    assert truths(side, [HATE, VIOLENCE]) == ({HATE: False, VIOLENCE: False}, True)


@pytest.mark.parametrize(
    ("category", "said", "wanted"),
    [
        (HATE, ExpectedCategory(min_severity=2), True),
        (HATE, ExpectedCategory(min_severity=1), None),
        (HATE, ExpectedCategory(max_severity=1), False),
        (HATE, ExpectedCategory(max_severity=2), None),
        (HATE, ExpectedCategory(filtered=False, min_severity=2), False),
        (JAILBREAK, ExpectedCategory(detected=True), True),
        (JAILBREAK, ExpectedCategory(filtered=False), False),
        (JAILBREAK, ExpectedCategory(filtered=False, detected=True), True),
    ],
)
def test_what_is_written_of_a_category_tells_whether_it_must_be_filtered(
    category: Category, said: ExpectedCategory, wanted: bool | None
) -> None:
    known, _ = truths(ExpectedSide(None, {category: said}), [category])
    assert known.get(category) is wanted
