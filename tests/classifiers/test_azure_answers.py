"""What Azure says is read strictly; most of it is tested through the service, in test_azure.py."""

from __future__ import annotations

import pytest

from safety_proxy.classifiers.azure_answers import read_attack, read_blocklists, read_harms, sides_of
from safety_proxy.model import HARMS, Category, Image, Span, Verdict
from tests.pictures import png


def test_an_absent_analysis_leaves_all_harms_undecided() -> None:
    assert read_harms(None).failures == dict.fromkeys(HARMS, "missing_category")


@pytest.mark.parametrize(
    ("analysis", "verdict"),
    [
        ({"attackDetected": True}, Verdict(detections={Category.JAILBREAK: True})),
        ({"attackDetected": 0}, Verdict(failures={Category.JAILBREAK: "invalid_answer"})),
        ({}, Verdict(failures={Category.JAILBREAK: "missing_category"})),
        (None, Verdict(failures={Category.JAILBREAK: "missing_category"})),
        ("attackDetected", Verdict(failures={Category.JAILBREAK: "invalid_answer"})),
        (["attackDetected"], Verdict(failures={Category.JAILBREAK: "invalid_answer"})),
    ],
)
def test_only_true_and_false_decide(analysis: object, verdict: Verdict) -> None:
    assert read_attack(Category.JAILBREAK, analysis, "attackDetected") == verdict


def test_a_match_is_told_where_its_item_stands_if_it_does() -> None:
    matches = [
        {"blocklistName": "a", "blocklistItemText": "ACME"},
        {"blocklistName": "a", "blocklistItemText": "not there"},
        {"blocklistName": "b"},
    ]
    assert read_blocklists(matches, ["a", "b", "c"], "an acme shop") == (
        {"a": True, "b": True, "c": False},
        (Span(3, 7, "a"),),
    )


@pytest.mark.parametrize(
    ("item", "text", "spans"),
    [
        ("x", "\u0130x", [(1, 2)]),  # lower case has one character more
        ("stra\u00dfe", "STRASSE", []),
        ("a.c", "abc a.c A.C", [(4, 7), (8, 11)]),
        ("b[ao]d", "a bad word", []),
        ("aa", "aaaa", [(0, 2), (2, 4)]),
        ("", "x", []),
        (None, "x", []),
        (1, "1", []),
    ],
)
def test_an_item_is_found_as_it_is_written_whatever_the_case(item: object, text: str, spans: list[tuple[int, int]]) -> None:
    matches = [{"blocklistName": "a", "blocklistItemText": item}] * 2
    assert read_blocklists(matches, ["a"], text) == ({"a": True}, tuple(Span(*each, "a") for each in spans))


def test_the_name_of_a_list_that_was_not_asked_for_is_not_repeated() -> None:
    with pytest.raises(ValueError, match="not asked for") as failed:
        read_blocklists([{"blocklistName": "hidden"}], ["a"], "x")
    assert "hidden" not in str(failed.value)


@pytest.mark.parametrize("entries", [[8, 0], [0, 8], [0, None, 0], [True, 0]])
def test_an_odd_severity_beside_a_sound_one_is_a_failure_in_any_order(entries: list[object]) -> None:
    found = read_harms([{"category": "Hate", "severity": severity} for severity in entries])
    assert found.severities == {Category.HATE: 0}
    assert found.failures[Category.HATE] == "invalid_answer"


def test_sides_are_known_of_formats_that_have_them_at_one_place() -> None:
    assert sides_of(Image("image/png", png(width=70, height=90))) == (70, 90)
    assert sides_of(Image("image/jpeg", b"\xff\xd8")) == ()
    assert sides_of(Image("image/png", b"\x89PNG")) == ()
