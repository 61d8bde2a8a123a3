"""A page with one of everything, and hostile cases, for the tests of the report."""

from __future__ import annotations

from safety_proxy.harness.cases import Case, ExpectedCategory, ExpectedSide
from safety_proxy.harness.html_page import Cell, Figure, Figures, Note, Page, Section, Table
from safety_proxy.harness.html_summary import report, summary_section
from safety_proxy.harness.intervals import Estimate, proportion
from safety_proxy.harness.outcome import FoundCategory, FoundSide, FoundSpan, Outcome, faults_of
from safety_proxy.harness.plots import LineChart, Point, Series
from safety_proxy.harness.summary import Summary
from safety_proxy.model import Category, JSONObject

HOSTILE = (
    "</pre></details></script><script>throw new Error('ran')</script><img src=x onerror=\"throw 1\"> \u202egnp.\x00\ud800"
)
LONG = "All is quiet here. " * 400 + "He will punch you. " + "Nothing happens. " * 400
IDENTITY = "house@5b7f00c2a91d"


def side(decision: str, severity: int = 0, *spans: FoundSpan, **blocklists: bool) -> FoundSide:
    """What was decided, with violence found."""
    filtered = decision == "filter"
    categories = {
        Category.HATE: FoundCategory(filtered=False, severity=0),
        Category.VIOLENCE: FoundCategory(filtered=filtered, severity=severity),
        Category.JAILBREAK: FoundCategory(filtered=False, detected=False),
    }
    return FoundSide(decision, categories, blocklists, "timeout" if decision == "error" else None, spans)


def expected(decision: str) -> ExpectedSide:
    """Of violence, whether it must be filtered."""
    violence = ExpectedCategory(filtered=decision == "filter")
    assert decision in {"allow", "filter"}
    return ExpectedSide("filter" if decision == "filter" else "allow", {Category.VIOLENCE: violence})


def outcome(
    name: str, body: JSONObject, wanted: str, found: FoundSide, tags: tuple[str, ...] = (), line: int = 1
) -> Outcome:
    """A case with an expectation of its input, or of its completion if it has no other."""
    of_input = set(body) != {"completion"}
    want = expected(wanted)
    case = Case(
        name, f"cases/house.yaml:{line}", body, want if of_input else None, None if of_input else want, frozenset(tags)
    )
    faults = tuple(faults_of("input" if of_input else "output", want, found))
    return Outcome(case, IDENTITY, found if of_input else None, None if of_input else found, faults, 0.004)


def failures() -> list[Outcome]:
    """One of each kind."""
    punch = LONG.index("punch you")
    return [
        outcome(
            "a quotation in an essay",
            {
                "messages": [
                    {"role": "system", "content": "You help with essays."},
                    {"role": "user", "content": "In the novel he says: I will punch you. What does it mean?"},
                ]
            },
            "allow",
            side(
                "filter",
                4,
                FoundSpan("messages[1].content", 22, 38, "violence", "embedded", 0.83),
                FoundSpan("messages[1].content", 29, 34, "house_words", "blocklist"),
                house_words=True,
            ),
            ("fiction", "over-blocking"),
            12,
        ),
        outcome(
            "a threat in a long answer",
            {"completion": LONG},
            "filter",
            side("allow", 2, FoundSpan("completion[0].content", punch, punch + 9, "violence", "embedded", 0.41)),
            ("threat", "long"),
            27,
        ),
        outcome("<b>hostile</b> \u202etxt", {"text": HOSTILE}, "filter", side("allow", 0), ("<i>odd</i>", "threat"), 41),
        outcome("no verdict", {"text": "Hello"}, "allow", side("error"), ("outage",), 58),
    ]


def summary() -> Summary:
    """Of some dozens of cases, four of which failed."""
    made = Summary(IDENTITY)
    for i in range(40):
        made.add(outcome(f"harmless {i}", {"text": "Hello"}, "allow", side("allow", i % 3), line=100 + i))
    for i in range(25):
        made.add(outcome(f"threat {i}", {"text": "I will hurt you"}, "filter", side("filter", 4 + i % 4), line=200 + i))
    for i in range(12):
        made.add(outcome(f"answer {i}", {"completion": "Fine"}, "allow", side("allow", i % 2), line=300 + i))
    for each in failures():
        made.add(each)
    return made


def curve() -> LineChart:
    """Precision and recall by threshold."""
    precision = [(0, None), (2, 40), (4, 46), (6, 48)]
    recall = [(0, 50), (2, 48), (4, 41), (6, 22)]

    def points(measured: list[tuple[int, int | None]]) -> list[Point]:
        return [
            Point(threshold, None if hits is None else hits / 50, f"threshold {threshold}", *proportion(hits or 0, 50).ends)
            for threshold, hits in measured
        ]

    series = [Series("precision", points([*precision])), Series("recall", points([*recall]))]
    here = Point(4, None, "in force")
    return LineChart("violence, input", "threshold", "proportion", series, here, y_range=(0, 1))


def page() -> Page:
    """A policy's section, and one with everything else."""
    leak = [Point(x, 400 / (x + 20), f"window {x}") for x in (0, 50, 100, 200, 400, 800)]
    rows: list[tuple[Cell, ...]] = [("low", 2, Estimate(0.9, 0.8, 0.95)), ("medium", 4, None), ("high", 6, Estimate(None))]
    more = Section(
        "Sweep",
        [
            Note("Fewer is better.", "warning"),
            Figures([Figure("best threshold", "medium", "good", "by F1")]),
            Table("Thresholds", ("block_at", "severity", "F1"), rows, frozenset({1}), "In force: medium."),
            curve(),
            LineChart(
                "Leak and latency",
                "delay in ms",
                "characters shown",
                [Series("house", leak)],
                Point(100, 400 / 120, "in force"),
            ),
        ],
        "2 better",
        "warning",
    )
    made = report(
        [summary()], title="Policies put to the test", generated="2026-01-02T03:04:05Z", command="safety-proxy policy test"
    )
    return Page(
        made.title, made.generated, made.command, [*made.sections, more, summary_section(Summary("empty@000000000000"))]
    )
