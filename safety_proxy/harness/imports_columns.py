"""Tables of texts and labels as cases: CSV with a head line, and JSON Lines whose keys are the columns."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final, TypeVar

from safety_proxy.errors import ConfigError
from safety_proxy.harness.cases import Case, objects
from safety_proxy.harness.imported import Importer, Row
from safety_proxy.model import JSON, Category

FILTER_WORDS: Final = frozenset(
    {"1", "1.0", "true", "yes", "filter", "filtered", "block", "blocked", "flagged", "harmful", "toxic", "unsafe"}
)
ALLOW_WORDS: Final = frozenset({"0", "0.0", "false", "no", "allow", "allowed", "ok", "benign", "harmless", "safe"})
"""What labels say, in any case, unless the columns bring words of their own along."""
NO_CATEGORY: Final = frozenset({"", "none", "safe"})
_Value = TypeVar("_Value")
_KEYS: Final = ("text", "label", "category", "tag", "name")
_WORDS: Final = ("filter", "allow")


@dataclass(frozen=True, slots=True)
class Columns:
    """What stands where in a table."""

    text: str
    label: str | None = None
    """Whether the text must be filtered."""
    category: str | None = None
    """What is wrong with it: categories, separated by ``|`` or ``;``."""
    tag: str | None = None
    """Tags, separated in the same way."""
    name: str | None = None
    """What the case is called."""
    filter: frozenset[str] = FILTER_WORDS
    allow: frozenset[str] = ALLOW_WORDS
    """Words of labels, in small letters."""

    @classmethod
    def of(cls, written: Mapping[str, str]) -> Columns:
        """From the columns by what they are: ``text``, ``label``, ``category``, ``tag``, ``name``.

        ``filter`` and ``allow`` are no columns but the words of the labels that mean so, separated by ``|``. Raises
        `ConfigError`.
        """
        for key in written:
            if key not in {*_KEYS, *_WORDS}:
                raise ConfigError(f"knows no `{key}`; known are: {', '.join((*_KEYS, *_WORDS))}", field="--columns")
        if "text" not in written:
            raise ConfigError("must tell where the texts are: text=COLUMN", field="--columns")
        return cls(
            written["text"],
            written.get("label"),
            written.get("category"),
            written.get("tag"),
            written.get("name"),
            frozenset(_split(written["filter"].lower())) if "filter" in written else FILTER_WORDS,
            frozenset(_split(written["allow"].lower())) if "allow" in written else ALLOW_WORDS,
        )

    def names(self) -> list[str]:
        """The columns that must be there."""
        return [name for name in (self.text, self.label, self.category, self.tag, self.name) if name is not None]

    def says(self, label: JSON) -> bool | None:
        """Whether a label says that its text must be filtered; None if it is empty. Raises ValueError, without the label."""
        word = "" if label is None else str(label).strip().lower()
        if word in self.filter or word in self.allow:
            return word in self.filter
        if word:
            raise ValueError("is no known label; tell what words mean: filter=WORD|WORD,allow=WORD|WORD")
        return None


def read_csv(
    lines: Iterable[str], file: str, *, columns: Columns, importer: Importer, delimiter: str = ","
) -> Iterator[Case]:
    """The rows of CSV whose first line names the columns. Raises `ConfigError`."""
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    head: list[str] | None = None
    while True:
        line = reader.line_num + 1  # a row begins where the last one ended: cells may hold line ends
        try:
            cells = next(reader, None)
        except csv.Error as error:
            raise ConfigError(f"is not valid CSV: {error}", file=file, line=reader.line_num) from None
        if cells is None:
            break
        if not cells:
            continue
        if head is None:
            head = _head(cells, columns, file, line)
        elif len(cells) != len(head):
            raise ConfigError(f"has {len(cells)} cells, and the first line {len(head)}", file=file, line=line)
        else:
            yield from importer.case(_row(dict(zip(head, cells, strict=True)), columns, file, line))
    if head is None:
        raise ConfigError("is empty", file=file)


def _head(cells: list[str], columns: Columns, file: str, line: int) -> list[str]:
    head = [cell.strip() for cell in cells]
    for name in columns.names():
        if head.count(name) != 1:
            how = "two columns are" if name in head else "no column is"
            raise ConfigError(f"{how} called `{name}`; there are: {', '.join(head)}", file=file, line=line)
    return head


def read_jsonl(lines: Iterable[str], file: str, *, columns: Columns, importer: Importer) -> Iterator[Case]:
    """The objects of JSON Lines, whose keys are the columns. One that is missing in a line is empty there, but for the text.

    Raises `ConfigError`.
    """
    for number, content in objects(lines, file):
        yield from importer.case(_row(content, columns, file, number))


# ----------------------------------------------------------------------------------------------------------------- rows


def _row(content: Mapping[str, JSON], columns: Columns, file: str, line: int) -> Row:
    def cell(name: str | None, reading: Callable[[JSON], _Value]) -> _Value | None:
        try:
            return None if name is None else reading(content.get(name))
        except ValueError as error:
            raise ConfigError(str(error), file=file, line=line, field=name) from None

    categories = cell(columns.category, _categories)
    filtered = cell(columns.label, columns.says)
    if columns.label is None and categories is not None:
        filtered = bool(categories)
    return Row(
        file=file,
        line=line,
        text=cell(columns.text, _text) or "",
        name=cell(columns.name, _one_line) or "",
        filtered=filtered,
        categories=dict.fromkeys(categories or (), filtered) if filtered is not None else None,
        tags=frozenset(cell(columns.tag, _words) or ()),
    )


def _text(value: JSON) -> str:
    if isinstance(value, str):
        return value
    raise ValueError("must be text")


def _one_line(value: JSON) -> str:
    return " ".join(str("" if value is None else value).split())


def _categories(value: JSON) -> list[Category]:
    """The categories in a cell, however their words are joined. Raises ValueError."""
    named = [re.sub(r"[\s/-]+", "_", word.lower()) for word in _words(value)]
    try:
        return [Category(name) for name in named if name not in NO_CATEGORY]
    except ValueError:
        raise ValueError(f"must be of: {', '.join(Category)}") from None


def _words(value: JSON) -> list[str]:
    """The words in a cell, or in the cells of a list. Raises ValueError."""
    if isinstance(value, list):
        return [word for each in value for word in _words(each)]
    if not isinstance(value, dict):
        return _split("" if value is None else str(value))
    raise ValueError("must be text, or a list of texts")


def _split(text: str) -> list[str]:
    return [word.strip() for word in re.split(r"[|;]", text) if word.strip()]
