"""What may stand on a page: sections, and in them notes, figures, tables, matrices, charts, and cases with their texts.

Everything here is data that is shown as it is, in the order in which it is given: whoever sorts it keeps pages comparable.
`safety_proxy.harness.html.render` makes the page. Strings are plain text, never HTML.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from safety_proxy.harness.cases import Case
from safety_proxy.harness.intervals import Estimate
from safety_proxy.harness.outcome import FoundSide, Outcome
from safety_proxy.harness.plots import BarChart, LineChart

Tone: TypeAlias = Literal["plain", "good", "bad", "warning"]
Cell: TypeAlias = str | int | float | Estimate | None
"""Numbers stand to the right; an `Estimate` is drawn with its interval; None is a dash."""


@dataclass(frozen=True, slots=True)
class Note:
    """A paragraph."""

    text: str
    tone: Tone = "plain"


@dataclass(frozen=True, slots=True)
class Figure:
    """One number or word that matters, with what it is."""

    label: str
    value: str
    tone: Tone = "plain"
    remark: str = ""
    """In small letters below."""


@dataclass(frozen=True, slots=True)
class Figures:
    """Several, side by side."""

    figures: Sequence[Figure]


@dataclass(frozen=True, slots=True)
class Table:
    """A table; the first cell of a row is its head."""

    caption: str
    header: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    """Each as long as the header."""
    marked: frozenset[int] = frozenset()
    """Rows that stand out, by number from 0: what is in force now, what is best."""
    remark: str = ""
    """What one must know to read it."""


@dataclass(frozen=True, slots=True)
class Matrix:
    """How often each pair of words came up. Where both are the same, all is well."""

    caption: str
    rows: Sequence[str]
    """What was expected."""
    columns: Sequence[str]
    """What was found."""
    counts: Mapping[tuple[str, str], int]
    """By row and column; what is missing is 0."""
    row_title: str = "expected"
    column_title: str = "found"


@dataclass(frozen=True, slots=True)
class Grid:
    """Charts and matrices side by side, as many as there is room for."""

    blocks: Sequence[BarChart | LineChart | Matrix]


@dataclass(frozen=True, slots=True)
class ShownCase:
    """A case, with what there is to say of it."""

    case: Case
    faults: Sequence[str]
    """A sentence each."""
    found: Sequence[tuple[str, FoundSide]]
    """What was decided, each under its heading (``input``, ``output``; or with the name of a policy before it)."""
    changes: Sequence[str] = ()
    """Keys to choose cases by, such as ``input: allow → filter``."""

    @classmethod
    def of(cls, outcome: Outcome) -> ShownCase:
        """A case under one policy."""
        sides = (("input", outcome.case.input, outcome.input), ("output", outcome.case.output, outcome.output))
        found = tuple((name, side) for name, _, side in sides if side is not None)
        changes = tuple(
            f"{name}: {expected.decision} → {side.decision}"
            for name, expected, side in sides
            if expected is not None and side is not None and expected.decision not in {None, side.decision}
        )
        return cls(outcome.case, outcome.faults, found, changes)


@dataclass(frozen=True, slots=True)
class Cases:
    """Cases that can be searched, and chosen by tag and change. At most `safety_proxy.harness.summary.KEPT` are shown."""

    title: str
    cases: Sequence[ShownCase]
    total: int
    """How many there are; the page says how many of them it does not show."""


Block: TypeAlias = Note | Figures | Table | Matrix | BarChart | LineChart | Grid | Cases


@dataclass(frozen=True, slots=True)
class Section:
    """A part of the page with a heading of its own, listed in its contents."""

    title: str
    blocks: Sequence[Block]
    status: str = ""
    """A word or two beside the heading and in the contents: ``3 failed``."""
    tone: Tone = "plain"
    """Of the status."""


@dataclass(frozen=True, slots=True)
class Page:
    """A whole page."""

    title: str
    generated: str
    """When, in ISO 8601."""
    command: str
    """The command line that made it."""
    sections: Sequence[Section]
