"""What the readers of other people's collections share: from a text and what is known of it to a case, or to none."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

from safety_proxy.errors import ConfigError
from safety_proxy.harness.cases import Case, Decided, ExpectedCategory, ExpectedSide
from safety_proxy.model import Category

SideName: TypeAlias = Literal["input", "output"]


@dataclass(frozen=True, slots=True)
class Row:
    """One entry of a collection."""

    file: str
    line: int
    text: str
    name: str = ""
    """Empty: it is called by its line."""
    filtered: bool | None = None
    """Whether it must be filtered; None: nobody knows."""
    categories: Mapping[Category, bool] | None = None
    """Those of which it is known whether they must filter it."""
    tags: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Importer:
    """Makes cases of rows."""

    side: SideName = "input"
    """What the texts are."""
    skipped: Counter[str] | None = None
    """How many rows were left out, by reason. None: each is an error."""
    need_expectations: bool = True
    """Rows of which nothing is expected are left out."""

    def case(self, row: Row) -> Iterator[Case]:
        """The case in *row*, if there is one. Raises `ConfigError` if rows must not be left out."""
        categories = row.categories or {}
        if not row.text.strip():
            self.skip("without a text", row.file, row.line)
        elif self.need_expectations and row.filtered is None and not categories:
            self.skip("without a label", row.file, row.line)
        else:
            decision: Decided | None = None if row.filtered is None else "filter" if row.filtered else "allow"
            told = {category: ExpectedCategory(filtered=truth) for category, truth in categories.items()}
            expected = ExpectedSide(decision, told) if decision is not None or told else None
            yield Case(
                name=row.name or f"line {row.line}",
                place=f"{row.file}:{row.line}",
                body={"text" if self.side == "input" else "completion": row.text},
                input=expected if self.side == "input" else None,
                output=expected if self.side == "output" else None,
                tags=row.tags,
            )

    def skip(self, reason: str, file: str, line: int | None, field: str | None = None) -> None:
        """Leave something out. Raises `ConfigError` if nothing may be."""
        if self.skipped is None:
            raise ConfigError(f"is {reason}", file=file, line=line, field=field)
        self.skipped[reason] += 1
