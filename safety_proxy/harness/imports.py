"""Cases from collections that people already have: which reader reads which format, and OpenAI's evaluation data.

One case at a time is read, when it is asked for. `imports_columns` reads tables, `imports_promptfoo` promptfoo's tests.
"""

from __future__ import annotations

import gzip
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Final, TextIO

from safety_proxy.errors import ConfigError
from safety_proxy.harness.cases import Case, objects, read_cases, read_lines
from safety_proxy.harness.imported import Importer, Row, SideName
from safety_proxy.harness.imports_columns import Columns, read_csv, read_jsonl
from safety_proxy.harness.imports_promptfoo import read_promptfoo
from safety_proxy.model import Category, JSONObject

FORMATS: Final = ("cases", "openai-moderation", "promptfoo", "csv", "jsonl")
"""What `open_cases` can read, by the names that a command line has for them."""
STANDARD_INPUT: Final = Path("-")

_ZIPPED: Final = ".gz"
_NO_COLUMNS: Final[Mapping[str, str]] = MappingProxyType({})
_LABELS: Final[Mapping[Category, tuple[str, ...]]] = {
    Category.HATE: ("H", "HR", "H2"),
    Category.SEXUAL: ("S", "S3"),
    Category.VIOLENCE: ("V", "V2"),
    Category.SELF_HARM: ("SH",),
}
"""The labels of ``data/samples-1680.jsonl.gz`` (openai/moderation-api-release, README.md) that make up each category."""
_PARTS: Final = frozenset({"H2", "S3", "V2"})
"""Labels of a part of what the first of the row means: where that is 0, so are they, written or not."""


def open_cases(
    path: Path,
    *,
    format: str | None = None,  # noqa: A002 - what everybody calls it
    columns: Mapping[str, str] = _NO_COLUMNS,
    side: SideName = "input",
    need_expectations: bool = True,
    stdin: TextIO | None = None,
    skipped: Counter[str] | None = None,
) -> Iterator[Case]:
    """The cases of a file, or of a folder of case files, in one of the `FORMATS`. Raises `ConfigError`, now or on the way.

    Without a *format*, ``*.csv`` and ``*.tsv`` are tables, and all else holds cases. *columns* tells what stands where in a
    table (see `Columns.of`); *side* is what the texts of a collection are, prompts or completions. ``-`` is *stdin*. What
    has no text, or tells nothing of what is expected though they *need_expectations*, is counted in *skipped*, by reason;
    without that, it is an error.
    """
    chosen = format or _by_name(path)
    if chosen not in FORMATS:
        raise ConfigError(f"must be one of: {', '.join(FORMATS)}", field="--format")
    if columns and chosen not in {"csv", "jsonl"}:
        raise ConfigError(f"is for the formats csv and jsonl, and this is read as {chosen}", field="--columns")
    if path == STANDARD_INPUT and (chosen == "promptfoo" or stdin is None):
        raise ConfigError("cannot be read from standard input", file="-")
    importer = Importer(side, skipped, need_expectations)
    if chosen == "promptfoo":
        return read_promptfoo(path, importer)
    if chosen == "cases" and path != STANDARD_INPUT and path.suffix != _ZIPPED:
        return read_cases(path, need_expectations=need_expectations)
    return _streamed(path, stdin, _reader(path, chosen, columns, importer))


def columns_of(written: str) -> dict[str, str]:
    """The columns in ``text=prompt,label=is_toxic``, as a command line takes them. Raises `ConfigError`."""
    columns: dict[str, str] = {}
    for part in written.split(","):
        key, _, name = (each.strip() for each in part.partition("="))
        if not key or not name or key in columns:
            raise ConfigError("must be written as text=COLUMN,label=COLUMN, each once", field="--columns")
        columns[key] = name
    return columns


def _by_name(path: Path) -> str:
    return "csv" if _suffix(path) in {".csv", ".tsv"} else "cases"


def _suffix(path: Path) -> str:
    return (path.with_suffix("") if path.suffix == _ZIPPED else path).suffix


def _reader(
    path: Path, chosen: str, columns: Mapping[str, str], importer: Importer
) -> Callable[[TextIO, str], Iterator[Case]]:
    if chosen == "cases":
        return partial(read_lines, need_expectations=importer.need_expectations)
    if chosen == "openai-moderation":
        return partial(_read_samples, importer=importer)
    known = Columns.of(columns)
    if chosen == "jsonl":
        return partial(read_jsonl, columns=known, importer=importer)
    return partial(read_csv, columns=known, importer=importer, delimiter="\t" if _suffix(path) == ".tsv" else ",")


# ------------------------------------------------------------------------------------------------------------- opening


def _streamed(path: Path, stdin: TextIO | None, reader: Callable[[TextIO, str], Iterator[Case]]) -> Iterator[Case]:
    if path == STANDARD_INPUT and stdin is not None:
        with _told("standard input"):
            yield from reader(stdin, "standard input")
    else:
        with _told(str(path)), _opened(path) as lines:
            yield from reader(lines, str(path))


def _opened(path: Path) -> TextIO:
    # Line ends are left as they are, since those inside a cell of a table are part of it.
    if path.suffix == _ZIPPED:
        return gzip.open(path, "rt", encoding="utf-8-sig", newline="")
    return path.open(encoding="utf-8-sig", newline="")


@contextmanager
def _told(file: str) -> Iterator[None]:
    """Raises as `ConfigError` what goes wrong while *file* is read."""
    try:
        yield
    except UnicodeDecodeError:
        raise ConfigError("is not UTF-8", file=file) from None
    except (gzip.BadGzipFile, EOFError, zlib.error):
        raise ConfigError("is not a whole file of gzip", file=file) from None
    except OSError as error:
        raise ConfigError(f"cannot be read: {error.strerror}", file=file) from None


# --------------------------------------------------------------------------------------------------------------- OpenAI


def _read_samples(lines: Iterable[str], file: str, *, importer: Importer) -> Iterator[Case]:
    """The samples of OpenAI's evaluation data: a ``prompt``, and 0 or 1 for each label that is known."""
    for number, sample in objects(lines, file):
        prompt = sample.get("prompt")
        if not isinstance(prompt, str):
            raise ConfigError("must be text", file=file, line=number, field="prompt")
        labels = {label: _zero_or_one(sample, label, file, number) for each in _LABELS.values() for label in each}
        truths = {category: _truth(names, labels) for category, names in _LABELS.items()}
        known = {category: truth for category, truth in truths.items() if truth is not None}
        filtered = True if any(known.values()) else False if len(known) == len(truths) else None
        yield from importer.case(Row(file, number, prompt, filtered=filtered, categories=known))


def _zero_or_one(sample: JSONObject, label: str, file: str, line: int) -> bool | None:
    value = sample.get(label)
    if value not in (None, 0, 1):
        raise ConfigError("must be 0 or 1", file=file, line=line, field=label)
    return None if value is None else bool(value)


def _truth(names: tuple[str, ...], labels: Mapping[str, bool | None]) -> bool | None:
    """Whether a category must filter: if any of its labels is 1; not, if all are 0; else nobody knows."""
    if any(labels[name] for name in names):
        return True
    return None if any(labels[name] is None for name in names if name not in _PARTS) else False
