"""From the words of guards to our categories."""

from __future__ import annotations

import pytest

from safety_proxy.classifiers.hazards import (
    GRANITE_GUARDIAN,
    LLAMA_GUARD,
    OPENAI,
    QWEN3_GUARD,
    SHIELD_GEMMA,
    Cutoffs,
    Hazards,
)
from safety_proxy.model import HARMS, Category, Kind

HATE, SEXUAL, VIOLENCE, JAILBREAK = Category.HATE, Category.SEXUAL, Category.VIOLENCE, Category.JAILBREAK
TABLE = Hazards({"war": {VIOLENCE: None}, "slur": {HATE: 3}, "trick": {JAILBREAK: None}, "spam": {}})


def test_what_is_found_is_as_severe_as_it_is_or_as_the_table_says() -> None:
    verdict = TABLE.verdict({"war": 5, "slur": 7}, Kind.USER_PROMPT)
    assert verdict.severities == {VIOLENCE: 5, HATE: 3}
    assert verdict.detections == {JAILBREAK: False}


def test_a_detection_is_found_or_not() -> None:
    assert TABLE.verdict({"trick": 6}, Kind.USER_PROMPT).detections == {JAILBREAK: True}


def test_what_is_none_of_our_categories_finds_nothing() -> None:
    verdict = TABLE.verdict({"spam": 7}, Kind.USER_PROMPT)
    assert verdict.severities == {VIOLENCE: 0, HATE: 0}


def test_a_hazard_that_is_not_in_the_table_is_an_error() -> None:
    with pytest.raises(KeyError):
        TABLE.verdict({"peace": 1}, Kind.USER_PROMPT)


def test_of_several_hazards_the_most_severe_counts() -> None:
    table = Hazards({"a": {HATE: None}, "b": {HATE: None, VIOLENCE: 2}})
    assert table.verdict({"a": 2, "b": 6}, Kind.MESSAGE).severities == {HATE: 6, VIOLENCE: 2}


@pytest.mark.parametrize(
    ("kind", "reported"),
    [
        (Kind.USER_PROMPT, {VIOLENCE, HATE, JAILBREAK}),
        (Kind.COMPLETION, {VIOLENCE, HATE}),
        (Kind.IMAGE, {VIOLENCE, HATE}),
    ],
)
def test_a_table_reports_what_can_occur_in_a_text(kind: Kind, reported: set[Category]) -> None:
    assert TABLE.reports(kind) == reported


def test_rows_replace_rows_and_stand_beside_them() -> None:
    table = TABLE.replaced({"war": {SEXUAL: None}, "new": {HATE: 1}})
    assert table.reports(Kind.COMPLETION) == {SEXUAL, HATE}
    assert TABLE.reports(Kind.COMPLETION) == {VIOLENCE, HATE}
    assert table.identity() != TABLE.identity() == Hazards(dict(reversed(list(TABLE.table.items())))).identity()


@pytest.mark.parametrize("table", [LLAMA_GUARD, QWEN3_GUARD, OPENAI, SHIELD_GEMMA, GRANITE_GUARDIAN])
def test_every_guard_reports_the_four_harms(table: Hazards) -> None:
    for kind in Kind:
        assert table.reports(kind) >= HARMS


@pytest.mark.parametrize(("score", "severity"), [(0.0, 0), (0.19, 0), (0.2, 2), (0.5, 4), (0.79, 4), (0.8, 6), (1.0, 6)])
def test_cutoffs_grade_scores(score: float, severity: int) -> None:
    assert Cutoffs().severity(score) == severity


def test_a_hazard_cannot_be_called_so_that_two_tables_look_alike() -> None:
    assert Hazards({"a=hate,b": {HATE: None}}).identity() != Hazards({"a": {HATE: None}, "b": {HATE: None}}).identity()
