"""A page of HTML in one file: it loads nothing, and runs no script but its own.

`safety_proxy.harness.html_page` tells what may stand on it, and `safety_proxy.harness.html_summary.report` makes one of what
cases came to. Whatever a text of a case holds, it stays text.
"""

from __future__ import annotations

import hashlib
from base64 import b64encode
from collections.abc import Sequence
from importlib.resources import files
from itertools import count
from typing import Final, assert_never

from safety_proxy.harness.html_cases import case_list
from safety_proxy.harness.html_markup import Markup, join, tag
from safety_proxy.harness.html_page import Block, Cases, Cell, Figure, Figures, Grid, Matrix, Note, Page, Section, Table
from safety_proxy.harness.intervals import Estimate
from safety_proxy.harness.plot_axes import NOTHING, number
from safety_proxy.harness.plots import BarChart, LineChart, figure

_SHADES: Final = 5
_BAR: Final = 72
"""Width of the drawing of an interval, in pixels."""


def render(page: Page, *, show_texts: bool = True) -> str:
    """The page as HTML. Without *show_texts* no text of a case is in it: only where something was found, and what.

    Names, tags and places of cases, and what callers wrote into the page, are shown all the same. Raises `ValueError` for a
    page without sections, and for a chart or a table that does not fit together.
    """
    if not page.sections:
        raise ValueError("a page without sections")
    return f"<!DOCTYPE html>\n{_Writer(show_texts).document(page)}\n"


class _Writer:
    """Writes one page; knows which ids it has given away."""

    def __init__(self, show_texts: bool) -> None:
        self._show_texts = show_texts
        self._numbers = count(1)

    def document(self, page: Page) -> Markup:
        """All of it."""
        body = tag("body", self._body(page), tag("script", _asset("report.js")))
        return tag("html", _head(page.title), body, lang="en")

    def _body(self, page: Page) -> Markup:
        about = tag("p", "Made ", tag("time", page.generated, datetime=page.generated), " by ", tag("code", page.command))
        left_out = None if self._show_texts else tag("p", "Texts of cases are left out.", class_="note")
        ids = [f"section-{i + 1}" for i, _ in enumerate(page.sections)]
        contents = tag(
            "nav",
            tag("ol", [tag("li", _link(section, each)) for section, each in zip(page.sections, ids, strict=True)]),
            aria_label="Contents",
        )
        sections = [self._section(section, each) for section, each in zip(page.sections, ids, strict=True)]
        return join(
            tag("a", "Skip to the content", href="#content", class_="skip"),
            tag("header", tag("h1", page.title), about, left_out),
            contents if len(page.sections) > 1 else None,
            tag("main", sections, id="content", tabindex=-1),
        )

    def _section(self, section: Section, identity: str) -> Markup:
        heading = tag("h2", section.title, _status(section), id=identity)
        return tag("section", heading, [self._block(block) for block in section.blocks], aria_labelledby=identity)

    def _block(self, block: Block) -> Markup:
        match block:
            case LineChart() | BarChart():
                return figure(block, self._identity("chart"))
            case Grid():
                return tag("div", [self._block(each) for each in block.blocks], class_="side-by-side")
            case Cases():
                return case_list(block, self._identity("cases"), show_texts=self._show_texts)
            case _:
                return _plain(block)

    def _identity(self, kind: str) -> str:
        return f"{kind}-{next(self._numbers)}"


# ----------------------------------------------------------------------------------------------------------------- head


def _asset(name: str) -> Markup:
    return Markup(files("safety_proxy.harness").joinpath(name).read_text(encoding="utf-8"))


def _head(title: str) -> Markup:
    style, script = _asset("report.css"), _asset("report.js")
    # Nothing is loaded from anywhere. Directives that a meta element cannot carry (frame-ancestors, sandbox) are not there.
    policy = f"default-src 'none'; style-src {_hash(style)}; script-src {_hash(script)}; base-uri 'none'; form-action 'none'"
    return tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=policy),
        tag("meta", name="referrer", content="no-referrer"),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("title", title),
        tag("style", style),
    )


def _hash(content: str) -> str:
    digest = hashlib.sha256(content.encode()).digest()
    return f"'sha256-{b64encode(digest).decode()}'"


def _link(section: Section, identity: str) -> Markup:
    return join(tag("a", section.title, href=f"#{identity}"), _status(section))


def _status(section: Section) -> Markup | None:
    return tag("span", section.status, class_=f"status {section.tone}") if section.status else None


# --------------------------------------------------------------------------------------------------------------- blocks


def _plain(block: Note | Figures | Table | Matrix) -> Markup:
    match block:
        case Note():
            return tag("p", block.text, class_=f"note {block.tone}")
        case Figures():
            return tag("dl", [_figure(each) for each in block.figures], class_="figures")
        case Table():
            return _table(block)
        case Matrix():
            return _matrix(block)
        case _:
            assert_never(block)


def _figure(shown: Figure) -> Markup:
    remark = tag("dd", shown.remark, class_="remark") if shown.remark else None
    return tag("div", tag("dt", shown.label), tag("dd", shown.value), remark, class_=shown.tone)


def _scrolling(name: str, table: Markup) -> Markup:
    """What is too wide for a small screen can be scrolled, with the keyboard too."""
    return tag("div", table, class_="wide", role="group", aria_label=name, tabindex=0)


def _table(block: Table) -> Markup:
    if any(len(row) != len(block.header) for row in block.rows):
        raise ValueError("a row is not as long as the header of its table")
    numeric = [all(not isinstance(row[i], str) for row in block.rows) for i in range(len(block.header))]
    header = [tag("th", name, scope="col", class_="number" if numeric[i] else None) for i, name in enumerate(block.header)]
    rows = [_row(row, marked=i in block.marked) for i, row in enumerate(block.rows)]
    table = tag("table", tag("caption", block.caption), tag("thead", tag("tr", header)), tag("tbody", rows))
    remark = tag("p", block.remark, class_="remark") if block.remark else None
    return join(_scrolling(block.caption, table), remark)


def _row(row: Sequence[Cell], *, marked: bool) -> Markup:
    first, *rest = row
    head = tag("th", _cell(first), tag("span", " (marked)", class_="unseen") if marked else None, scope="row")
    cells = [tag("td", _cell(each), class_=None if isinstance(each, str) else "number") for each in rest]
    return tag("tr", head, cells, class_="marked" if marked else None)


def _cell(cell: Cell) -> Markup:
    match cell:
        case None:
            return join(NOTHING)
        case Estimate(value=None):
            return tag("span", NOTHING, title="nothing to measure")
        case Estimate():
            told = tag("span", f" ({cell.low:.3f}\N{EN DASH}{cell.high:.3f})", class_="interval")
            return join(f"{cell.value:.3f}", told, _interval(cell))
        case str():
            return join(cell)
        case int() | float():
            return join(number(cell))
        case _:
            assert_never(cell)


def _interval(estimate: Estimate) -> Markup:
    """The interval as a bar on a line from 0 to 1, the value as a stroke; what it shows stands beside it in numbers."""
    low, value, high = (round(_BAR * each, 1) for each in (estimate.low, estimate.value or 0, estimate.high))
    return tag(
        "svg",
        tag("path", d=f"M0 5H{_BAR}", class_="rule"),
        tag("rect", x=low, y=2, width=max(round(high - low, 1), 1), height=6, class_="reach"),
        tag("path", d=f"M{value} 0V10", class_="value"),
        viewBox=f"-1 0 {_BAR + 2} 10",
        width=_BAR + 2,
        height=10,
        aria_hidden="true",
        class_="interval",
    )


def _matrix(block: Matrix) -> Markup:
    largest = max((block.counts.get((row, column), 0) for row in block.rows for column in block.columns), default=0)
    top = tag(
        "tr",
        tag("th", f"{block.row_title} ↓ {block.column_title} →", scope="col", class_="corner"),
        [tag("th", column, scope="col", class_="number") for column in block.columns],
    )
    rows = [
        tag("tr", tag("th", row, scope="row"), [_count(block, row, column, largest) for column in block.columns])
        for row in block.rows
    ]
    table = tag("table", tag("caption", block.caption), tag("thead", top), tag("tbody", rows), class_="matrix")
    return _scrolling(block.caption, table)


def _count(block: Matrix, row: str, column: str, largest: int) -> Markup:
    counted = block.counts.get((row, column), 0)
    shade = -(-counted * _SHADES // largest) if counted else 0  # rounded up: one is not nothing
    return tag("td", f"{counted:,}", class_=f"number {'agree' if row == column else 'differ'} h{shade}")
