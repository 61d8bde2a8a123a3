"""The vocabulary: severities have levels, verdicts say only what was judged, actions are finish reasons."""

from __future__ import annotations

import pytest

from safety_proxy.model import ALLOWED, HARMS, Action, Category, Image, Kind, Query, Severity, Verdict


@pytest.mark.parametrize(
    ("value", "label"), list(enumerate(("safe", "safe", "low", "low", "medium", "medium", "high", "high")))
)
def test_odd_severities_belong_to_the_level_below(value: int, label: str) -> None:
    assert Severity.of(value).label == label


def test_a_verdict_reports_what_it_mentions_and_nothing_else() -> None:
    verdict = Verdict({Category.HATE: 0}, {Category.JAILBREAK: False})

    assert [category for category in Category if verdict.reports(category)] == [Category.HATE, Category.JAILBREAK]


def test_a_score_is_no_report_on_a_category() -> None:
    """It goes by the classifier's own names, and nothing is decided by it."""
    verdict = Verdict(scores={"hate": 0.9, "unsafe": 0.9})

    assert not any(verdict.reports(category) for category in Category)
    assert Verdict().scores == {}


def test_an_action_is_the_finish_reason_that_a_client_sees() -> None:
    assert [action.value for action in Action] == [None, "content_filter", "content_filter_error"]
    assert ALLOWED.action is Action.ALLOW


def test_harms_have_a_severity_and_all_other_categories_are_found_or_not() -> None:
    assert {category.value for category in HARMS} == {"hate", "sexual", "violence", "self_harm"}


def test_what_an_image_shows_is_in_no_representation() -> None:
    assert "secret" not in repr(Query("", Kind.IMAGE, images=(Image("image/png", b"secret"),)))


def test_every_action_has_a_word_of_its_own() -> None:
    assert {action: action.word for action in Action} == {
        Action.ALLOW: "allow",
        Action.FILTER: "block",
        Action.FAIL: "error",
    }
