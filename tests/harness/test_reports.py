"""Each report says what failed, where, and why; and never a word of a text."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Sequence
from xml.etree import ElementTree as ET

import pytest

from safety_proxy.harness.cases import case_of
from safety_proxy.harness.outcome import FoundCategory, FoundSide, Outcome
from safety_proxy.harness.reports import GitHub, JSONReport, JUnit, Report, Table
from safety_proxy.harness.summary import Summary
from safety_proxy.model import Category

SECRET = "words of a text"
MAKERS: list[Callable[[io.StringIO], Report]] = [Table, JSONReport, JUnit, GitHub]


def outcome(name: str, *faults: str) -> Outcome:
    case = case_of(
        {
            "name": name,
            "text": SECRET,
            "expect": {"input": {"decision": "filter", "categories": {"hate": {"filtered": True}}}},
        },
        "cases/hate.jsonl",
        12,
    )
    found = FoundSide("allow" if faults else "filter", {Category.HATE: FoundCategory(not faults, 2 if faults else 4)})
    return Outcome(case, "p@1", found, None, faults, 0.25)


OUTCOMES = [outcome("good"), outcome("odd <&\"\x00', %\n:", "input: expected filter, got allow (hate 2)", "a second\nline")]


def told(make: Callable[[io.StringIO], Report], outcomes: Sequence[Outcome] = OUTCOMES) -> str:
    out, summary = io.StringIO(), Summary("p@1")
    report = make(out)
    for each in outcomes:
        report.add(each)
        summary.add(each)
    report.end([summary])
    return out.getvalue()


@pytest.mark.parametrize("make", MAKERS)
def test_no_report_holds_a_word_of_a_text(make: Callable[[io.StringIO], Report]) -> None:
    assert SECRET not in told(make)
    assert "expected filter, got allow (hate 2)" in told(make)


def test_the_table_tells_a_failure_at_once_and_what_all_came_to_at_the_end() -> None:
    out = io.StringIO()
    table = Table(out)
    table.add(OUTCOMES[0])
    assert out.getvalue() == ""
    table.add(OUTCOMES[1])
    assert out.getvalue().startswith("FAIL  p@1  cases/hate.jsonl:12  odd")

    assert told(Table).endswith(
        "p@1: 2 cases, 1 failed, 0.5 s of judging\n    input hate: precision 100.0 %, recall 50.0 %, f1 66.7 % (n=2)\n"
    )


def test_figures_of_nothing_are_undefined() -> None:
    case = case_of({"text": "x", "expect": {"input": {"categories": {"hate": {"filtered": False}}}}}, "c", 1)
    harmless = Outcome(case, "p@1", FoundSide("allow", {Category.HATE: FoundCategory(False, 0)}), None)

    assert "precision undefined, recall undefined, f1 undefined (n=1)" in told(Table, [harmless])


def test_json_has_totals_confusion_and_failures() -> None:
    document = json.loads(told(JSONReport))

    assert document["passed"] is False
    (policy,) = document["policies"]
    assert (policy["policy"], policy["total"], policy["failed"]) == ("p@1", 2, 1)
    assert policy["decisions"] == [
        {"side": "input", "expected": "filter", "found": "allow", "cases": 1},
        {"side": "input", "expected": "filter", "found": "filter", "cases": 1},
    ]
    assert policy["categories"][0]["false_negatives"] == 1
    (failure,) = policy["failures"]
    assert failure["place"] == "cases/hate.jsonl:12"
    assert failure["input"]["categories"]["hate"] == {"filtered": False, "severity": 2, "detected": None}


def test_junit_is_xml_whatever_the_names_are() -> None:
    suites = ET.fromstring(told(JUnit))  # noqa: S314 - our own

    (suite,) = suites
    assert suite.attrib == {"name": "p@1", "tests": "2", "failures": "1", "time": "0.500"}
    good, bad = suite
    assert (good.attrib["name"], len(good)) == ("good", 0)
    assert bad.attrib["name"] == "odd <&\"\ufffd', %\n:"
    assert (bad.attrib["file"], bad.attrib["line"]) == ("cases/hate.jsonl", "12")
    assert bad[0].text == "input: expected filter, got allow (hate 2)\na second\nline"


def test_github_annotates_the_line_of_the_case() -> None:
    first, last = told(GitHub).splitlines()

    assert first.startswith("::error file=cases/hate.jsonl,line=12,title=p@1%3A odd <&")
    assert first.endswith("%25%0A%3A::input: expected filter, got allow (hate 2)%0Aa second%0Aline")
    assert last == "::notice title=p@1::2 cases, 1 failed"


def test_a_policy_without_a_case_is_told_of_too() -> None:
    out = io.StringIO()
    JUnit(out).end([Summary("p@1")])

    assert ET.fromstring(out.getvalue())[0].attrib["tests"] == "0"  # noqa: S314 - our own
