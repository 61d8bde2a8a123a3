"""What became of many cases, for people and for programs: a table, JSON, JUnit's XML, annotations of GitHub.

A `Report` is told of each outcome as it comes, in the order of the cases, and keeps none but failures, so that a hundred
thousand of them take no more memory than a hundred. No report holds a word of a case's texts; names, tags and places are the
writer's own.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final, Protocol, TextIO
from xml.sax.saxutils import escape, quoteattr

import orjson

from safety_proxy.harness.outcome import FoundSide, Outcome
from safety_proxy.harness.summary import Confusion, Summary
from safety_proxy.model import JSON, JSONObject

Style = Callable[[str, str], str]
"""Paints a text (first) in a colour (second), or not."""


class Report(Protocol):
    """Takes outcomes, and tells of them."""

    def add(self, outcome: Outcome) -> None:
        """The next one."""

    def end(self, summaries: Sequence[Summary]) -> None:
        """There are no more. A summary for each policy."""


# --------------------------------------------------------------------------------------------------------------- table


class Table:
    """Lines for people: each failure as it comes, then what all came to."""

    def __init__(self, out: TextIO, style: Style = lambda text, _colour: text) -> None:
        self._out, self._style = out, style

    def add(self, outcome: Outcome) -> None:
        """A failure is told at once; what passed is counted."""
        if not outcome.passed:
            head = f"{self._style('FAIL', 'red')}  {outcome.policy}  {outcome.case.place}  {outcome.case.name}"
            self._out.write("\n".join((head, *(f"      {fault}" for fault in outcome.faults), "")))

    def end(self, summaries: Sequence[Summary]) -> None:
        """A line for each policy; what is known of each category, where cases say what must be filtered."""
        for summary in summaries:
            colour = "red" if summary.failed else "green"
            told = f"{summary.total} cases, {summary.failed} failed, {summary.seconds:.1f} s of judging"
            self._out.write(f"{self._style(summary.policy, colour)}: {told}\n")
            for line in _category_lines(summary):
                self._out.write(f"    {line}\n")


def _category_lines(summary: Summary) -> Iterable[str]:
    for (side, category), confusion in sorted(summary.categories.items()):
        figures = ", ".join(f"{name} {_percent(value)}" for name, value in _figures(confusion).items())
        yield f"{side} {category}: {figures} (n={confusion.total})"


def _figures(confusion: Confusion) -> dict[str, float | None]:
    return {"precision": confusion.precision, "recall": confusion.recall, "f1": confusion.f1}


def _percent(value: float | None) -> str:
    return "undefined" if value is None else f"{100 * value:.1f} %"


# ---------------------------------------------------------------------------------------------------------------- JSON


class JSONReport:
    """One object at the end: totals, confusion, and the failures (the first thousand of each policy)."""

    def __init__(self, out: TextIO) -> None:
        self._out = out

    def add(self, outcome: Outcome) -> None:
        """The summaries have it."""

    def end(self, summaries: Sequence[Summary]) -> None:
        """The object."""
        document = {"passed": not any(each.failed for each in summaries), "policies": [*map(_summary, summaries)]}
        self._out.write(orjson.dumps(document, option=orjson.OPT_INDENT_2).decode() + "\n")


def _summary(summary: Summary) -> JSONObject:
    decisions: list[JSON] = [
        {"side": side, "expected": expected, "found": found, "cases": count}
        for (side, expected, found), count in sorted(summary.decisions.items())
    ]
    categories: list[JSON] = [
        {
            "side": side,
            "category": category.value,
            "true_positives": each.true_positives,
            "false_positives": each.false_positives,
            "false_negatives": each.false_negatives,
            "true_negatives": each.true_negatives,
            **_figures(each),
        }
        for (side, category), each in sorted(summary.categories.items())
    ]
    return {
        "policy": summary.policy,
        "total": summary.total,
        "failed": summary.failed,
        "decisions": decisions,
        "categories": categories,
        "failures": [_failure(each) for each in summary.failures],
    }


def _failure(outcome: Outcome) -> JSONObject:
    return {
        "case": outcome.case.name,
        "place": outcome.case.place,
        "tags": [*sorted(outcome.case.tags)],
        "faults": [*outcome.faults],
        "input": _side(outcome.input),
        "output": _side(outcome.output),
    }


def _side(side: FoundSide | None) -> JSON:
    if side is None:
        return None
    categories: JSONObject = {
        category.value: {"filtered": each.filtered, "severity": each.severity, "detected": each.detected}
        for category, each in side.categories.items()
    }
    spans: list[JSON] = [
        {"field": each.field, "start": each.start, "end": each.end, "label": each.label, "classifier": each.classifier}
        for each in side.spans
    ]
    blocklists: JSONObject = dict(side.blocklists)
    found: JSONObject = {"decision": side.decision, "categories": categories, "blocklists": blocklists}
    return {**found, "error": side.error, "spans": spans}


# --------------------------------------------------------------------------------------------------------------- JUnit


class JUnit:
    """The XML that CI servers read: a suite for each policy, a test case for each case.

    The numbers stand before the cases, so these wait in a temporary file.
    """

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._cases: dict[str, TextIO] = {}

    def add(self, outcome: Outcome) -> None:
        """A ``testcase``."""
        waiting = self._cases.get(outcome.policy)
        if waiting is None:
            waiting = self._cases[outcome.policy] = tempfile.TemporaryFile("w+", encoding="utf-8")  # noqa: SIM115 - until `end`
        file, line = _file_and_line(outcome)
        attributes = {"classname": outcome.policy, "name": outcome.case.name, "file": file, "line": line}
        head = "".join(f" {name}={quoteattr(_xml(value))}" for name, value in attributes.items())
        waiting.write(f'<testcase{head} time="{outcome.seconds:.3f}"')
        if outcome.passed:
            waiting.write("/>\n")
        else:
            told = "\n".join(outcome.faults)
            waiting.write(
                f"><failure message={quoteattr(_xml(outcome.faults[0]))}>{escape(_xml(told))}</failure></testcase>\n"
            )

    def end(self, summaries: Sequence[Summary]) -> None:
        """All suites."""
        self._out.write('<?xml version="1.0" encoding="UTF-8"?>\n<testsuites>\n')
        for each in summaries:
            numbers = f'tests="{each.total}" failures="{each.failed}" time="{each.seconds:.3f}"'
            self._out.write(f"<testsuite name={quoteattr(_xml(each.policy))} {numbers}>\n")
            waiting = self._cases.pop(each.policy, None)
            if waiting is not None:
                waiting.seek(0)
                for line in waiting:
                    self._out.write(line)
                waiting.close()
            self._out.write("</testsuite>\n")
        self._out.write("</testsuites>\n")


_NO_XML: Final = re.compile("[^\t\n\r -\ud7ff\ue000-\U0010ffff]|[\ufffe\uffff]")
"""What XML 1.0 cannot hold."""


def _xml(text: str) -> str:
    return _NO_XML.sub("\ufffd", text)


# -------------------------------------------------------------------------------------------------------------- GitHub

_MESSAGE: Final[Mapping[str, str]] = {"%": "%25", "\r": "%0D", "\n": "%0A"}
_PROPERTY: Final[Mapping[str, str]] = {**_MESSAGE, ":": "%3A", ",": "%2C"}


class GitHub:
    """Annotations of GitHub Actions: each failure at its line."""

    def __init__(self, out: TextIO) -> None:
        self._out = out

    def add(self, outcome: Outcome) -> None:
        """An error, if it failed."""
        if not outcome.passed:
            file, line = _file_and_line(outcome)
            told = {"file": file, "line": line, "title": f"{outcome.policy}: {outcome.case.name}"}
            properties = ",".join(f"{name}={_escaped(value, _PROPERTY)}" for name, value in told.items())
            message = _escaped("\n".join(outcome.faults), _MESSAGE)
            self._out.write(f"::error {properties}::{message}\n")

    def end(self, summaries: Sequence[Summary]) -> None:
        """What all came to."""
        for each in summaries:
            self._out.write(f"::notice title={_escaped(each.policy, _PROPERTY)}::{each.total} cases, {each.failed} failed\n")


def _escaped(text: str, signs: Mapping[str, str]) -> str:
    return "".join(signs.get(char, char) for char in text)


def _file_and_line(outcome: Outcome) -> tuple[str, str]:
    file, _, line = outcome.case.place.rpartition(":")
    return (file, line) if line.isdigit() else (outcome.case.place, "1")
