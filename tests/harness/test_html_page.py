"""Claims about what is taken from an outcome."""

from __future__ import annotations

from dataclasses import replace

from safety_proxy.harness.html_page import ShownCase
from safety_proxy.harness.outcome import FoundSide
from tests.harness.pages import failures, outcome, side


def test_an_outcome_is_shown_with_its_faults_its_sides_and_what_changed() -> None:
    shown = ShownCase.of(failures()[0])
    assert shown.faults == failures()[0].faults
    assert [name for name, _ in shown.found] == ["input"]
    assert shown.changes == ("input: allow → filter",)


def test_a_side_that_was_decided_as_expected_is_no_change() -> None:
    assert ShownCase.of(outcome("a", {"text": "a"}, "allow", side("allow"))).changes == ()


def test_a_side_of_which_nothing_is_expected_is_shown_without_a_change() -> None:
    both = replace(outcome("a", {"text": "a"}, "allow", side("allow")), output=FoundSide("filter"))
    assert [name for name, _ in ShownCase.of(both).found] == ["input", "output"]
    assert ShownCase.of(both).changes == ()
