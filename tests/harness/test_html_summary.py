"""Claims about the page of what cases came to."""

from __future__ import annotations

from safety_proxy.harness.html_page import Block, Cases, Figures, Grid, Matrix, Note, Page, Section, Table
from safety_proxy.harness.html_summary import report, summary_section
from safety_proxy.harness.intervals import Estimate, proportion
from safety_proxy.harness.plots import BarChart
from safety_proxy.harness.summary import KEPT, Summary
from tests.harness.pages import IDENTITY, failures, outcome, side, summary


def figures(section: Section) -> dict[str, str]:
    (found,) = (block for block in section.blocks if isinstance(block, Figures))
    return {each.label: each.value for each in found.figures}


def gridded(section: Section) -> list[Block]:
    return [each for block in section.blocks if isinstance(block, Grid) for each in block.blocks]


def made(*summaries: Summary) -> Page:
    return report(summaries, title="t", generated="2026-01-02T03:04:05Z", command="c")


def test_a_policy_has_a_section_with_its_identity_and_numbers() -> None:
    (section,) = made(summary()).sections
    assert (section.title, section.status, section.tone) == (IDENTITY, "4 failed", "bad")
    assert figures(section) == {"cases": "81", "passed": "77", "failed": "4", "pass rate": "95.1 %", "judging": "324 ms"}


def test_several_policies_are_compared_first() -> None:
    other = Summary("other@1")
    other.add(outcome("a", {"text": "a"}, "allow", side("allow")))
    first, *rest = made(summary(), other).sections
    (table,) = first.blocks
    assert isinstance(table, Table)
    assert list(table.rows) == [(IDENTITY, 81, 77, 4, proportion(77, 81)), ("other@1", 1, 1, 0, proportion(1, 1))]
    assert [each.status for each in rest] == ["4 failed", "all passed"]


def test_no_case_is_not_a_success() -> None:
    section = summary_section(Summary("empty@1"))
    assert (section.status, section.tone) == ("no case ran", "bad")


def test_decisions_are_a_matrix_for_each_side_with_those_that_came_up() -> None:
    told, said = (block for block in gridded(summary_section(summary())) if isinstance(block, Matrix))
    assert (told.rows, told.columns) == (["allow", "filter"], ["allow", "filter", "error"])
    assert told.counts == {
        ("allow", "allow"): 40,
        ("allow", "filter"): 1,
        ("allow", "error"): 1,
        ("filter", "filter"): 25,
        ("filter", "allow"): 1,
    }
    assert said.columns == ["allow", "filter"]


def test_categories_have_their_scores_with_intervals() -> None:
    (table,) = (block for block in summary_section(summary()).blocks if isinstance(block, Table))
    told, said = table.rows
    assert told == ("violence", "input", 68, 25, 1, 1, proportion(25, 26), proportion(25, 26), told[-1])
    assert isinstance(told[-1], Estimate)
    assert said[6] == Estimate(None)


def test_severities_are_a_chart_for_each_category_in_which_something_was_found() -> None:
    section = summary_section(summary())
    charts = [block for block in gridded(section) if isinstance(block, BarChart)]
    assert [chart.title for chart in charts] == ["violence, input", "violence, output"]
    assert {bars.name: list(bars.values) for bars in charts[0].series} == {
        "expected allow": [15, 13, 13, 0, 1, 0, 0, 0],
        "expected filter": [1, 0, 0, 0, 7, 6, 6, 6],
    }
    assert "hate, input; hate, output" in [block.text for block in section.blocks if isinstance(block, Note)][-1]


def test_failures_are_shown_in_the_order_of_the_cases() -> None:
    (cases,) = (block for block in summary_section(summary()).blocks if isinstance(block, Cases))
    assert [each.case.name for each in cases.cases] == [each.case.name for each in failures()]


def test_of_very_many_failures_all_are_counted() -> None:
    many = Summary("many@1")
    for _ in range(KEPT + 5):
        many.add(failures()[3])
    (cases,) = (block for block in summary_section(many).blocks if isinstance(block, Cases))
    assert (len(cases.cases), cases.total) == (KEPT, KEPT + 5)


def test_time_is_told_in_seconds_when_there_are_any() -> None:
    slow = summary()
    slow.seconds = 1234.56
    assert figures(summary_section(slow))["judging"] == "1,234.6 s"
