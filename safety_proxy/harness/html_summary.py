"""What the cases of each policy came to, as a page."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Final

from safety_proxy.harness.cases import DECISIONS
from safety_proxy.harness.html_page import (
    Block,
    Cases,
    Cell,
    Figure,
    Figures,
    Grid,
    Matrix,
    Note,
    Page,
    Section,
    ShownCase,
    Table,
)
from safety_proxy.harness.intervals import proportion, scores
from safety_proxy.harness.plot_axes import NOTHING
from safety_proxy.harness.plots import BarChart, Bars
from safety_proxy.harness.summary import Confusion, Summary
from safety_proxy.model import Category

SEVERITIES: Final = range(8)
_ORDER: Final = {category: i for i, category in enumerate(Category)}


def report(summaries: Sequence[Summary], *, title: str, generated: str, command: str) -> Page:
    """A page with a section for each policy; before them, if there are several, one that compares them."""
    sections = [summary_section(summary) for summary in summaries]
    return Page(title, generated, command, [_overview(summaries), *sections] if len(sections) > 1 else sections)


def _overview(summaries: Sequence[Summary]) -> Section:
    rows: list[tuple[Cell, ...]] = [
        (each.policy, each.total, each.total - each.failed, each.failed, proportion(each.total - each.failed, each.total))
        for each in summaries
    ]
    return Section("All policies", [Table("Cases by policy", ("policy", "cases", "passed", "failed", "pass rate"), rows)])


def summary_section(summary: Summary) -> Section:
    """The outcomes of one policy."""
    blocks: list[Block] = [_figures(summary)]
    matrices = list(_matrices(summary.decisions))
    if matrices:
        blocks.append(Grid(matrices))
    if summary.categories:
        blocks.append(_categories(summary))
    blocks += _severities(summary)
    if summary.failed:
        blocks.append(Cases("Failed cases", [ShownCase.of(each) for each in summary.failures], summary.failed))
    if summary.failed or not summary.total:
        return Section(summary.policy, blocks, f"{summary.failed:,} failed" if summary.total else "no case ran", "bad")
    return Section(summary.policy, blocks, "all passed", "good")


def _figures(summary: Summary) -> Figures:
    passed = summary.total - summary.failed
    rate = proportion(passed, summary.total)
    likely = f"95 % interval: {100 * rate.low:.1f}\N{EN DASH}{100 * rate.high:.1f} %"
    return Figures(
        [
            Figure("cases", f"{summary.total:,}", "plain" if summary.total else "bad"),
            Figure("passed", f"{passed:,}", "good" if passed else "plain"),
            Figure("failed", f"{summary.failed:,}", "bad" if summary.failed else "plain"),
            Figure(
                "pass rate",
                NOTHING if rate.value is None else f"{100 * rate.value:.1f} %",
                "plain",
                "nothing to measure" if rate.value is None else likely,
            ),
            Figure("judging", _duration(summary.seconds), "plain", "added up over processes"),
        ]
    )


def _duration(seconds: float) -> str:
    return f"{seconds:,.1f} s" if seconds >= 1 else f"{1000 * seconds:.0f} ms"


def _matrices(decisions: Counter[tuple[str, str, str]]) -> Iterator[Matrix]:
    for side in sorted({side for side, _, _ in decisions}):
        counts = {(expected, found): count for (each, expected, found), count in decisions.items() if each == side}
        seen = {word for pair in counts for word in pair} | {"allow", "filter"}
        words = [word for word in DECISIONS if word in seen] + sorted(seen.difference(DECISIONS))
        rows = [word for word in words if word in {"allow", "filter"} or any(expected == word for expected, _ in counts)]
        yield Matrix(f"Decisions: {side}", rows, words, counts)


def _categories(summary: Summary) -> Table:
    ordered = sorted(summary.categories.items(), key=lambda each: (each[0][0], _ORDER[each[0][1]]))
    return Table(
        "Categories",
        ("category", "side", "cases", "hits", "missed", "over-blocked", "precision", "recall", "F1"),
        [_category(side, category, confusion) for (side, category), confusion in ordered],
        remark="Of the cases that say whether a category must be filtered or detected. Hits were and had to be, missed were"
        " not, over-blocked had not to be. In parentheses: 95 % intervals, Wilson's for precision and recall, and for F1"
        " the one that follows from Wilson's for TP / (TP + FP + FN).",
    )


def _category(side: str, category: Category, confusion: Confusion) -> tuple[Cell, ...]:
    hits, missed, over = confusion.true_positives, confusion.false_negatives, confusion.false_positives
    told = scores(confusion)
    cases = hits + missed + over + confusion.true_negatives
    return (str(category), side, cases, hits, missed, over, told.precision, told.recall, told.f1)


def _severities(summary: Summary) -> Iterator[Block]:
    """A chart for each side and category in which anything was found; the others are named."""
    ordered = sorted(summary.severities.items(), key=lambda each: (each[0][0], _ORDER[each[0][1]]))
    charts: list[BarChart] = []
    silent: list[str] = []
    for (side, category), counts in ordered:
        title = f"{category}, {side}"
        if any(severity and counted for (_, severity), counted in counts.items()):
            charts.append(BarChart(title, "severity", "cases", [str(each) for each in SEVERITIES], _bars(counts)))
        elif counts:
            silent.append(title)
    if charts:
        yield Note("Severities that were found, by the decision that cases expect of that side:")
        yield Grid(charts)
    if silent:
        yield Note(f"Severity 0 in all cases: {'; '.join(silent)}.")


def _bars(counts: Counter[tuple[str, int]]) -> list[Bars]:
    expected = {decision for decision, _ in counts}
    return [
        Bars(f"expected {decision}", [counts[decision, severity] for severity in SEVERITIES])
        for decision in DECISIONS
        if decision in expected
    ]
