"""Labelled rows, as training and evaluation read them: gzipped JSON lines.

A line is ``{"text", "labels": {head: 0 | 1 | null}, "severity": {category: 2 | 4 | 6} or null, "source", "licence",
"lang"}``; null means not known. Other keys are ignored.
"""

from __future__ import annotations

import gzip
import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from safety_proxy.classifiers.embedded.model import HEADS
from safety_proxy.errors import ConfigError

STREAM_FIRST: Final = 80
STREAM_WINDOW: Final = 120
STREAM_CONTEXT: Final = 180
"""The default windows of a stream (a policy's ``stream.first_window``, ``window`` and ``context``)."""


@dataclass(frozen=True, slots=True)
class Row:
    """One text and what is known of it."""

    text: str
    labels: Mapping[str, int | None]
    """0 or 1 for each head; a head that is absent or None is not known."""
    source: str
    licence: str = ""
    severity: Mapping[str, int] = field(default_factory=dict)

    def label(self, head: str) -> int:
        """0, 1, or -1 for not known."""
        value = self.labels.get(head)
        return -1 if value is None else value


def read_rows(path: Path) -> list[Row]:
    """The rows of a file. Raises `ConfigError`, naming the line, if it cannot be read; the text is not shown."""
    rows = []
    try:
        with gzip.open(path, "rt", encoding="utf-8") as lines:
            for number, line in enumerate(lines, 1):
                try:
                    row = json.loads(line)
                    labels = {head: row["labels"].get(head) for head in HEADS}
                    severity = row.get("severity") or {}
                    rows.append(Row(row["text"], labels, row["source"], row.get("licence", ""), severity))
                except (ValueError, KeyError, TypeError, AttributeError) as error:
                    raise ConfigError("is not a labelled row", file=str(path), line=number) from error
    except (OSError, EOFError) as error:
        raise ConfigError("cannot be read as gzipped lines", file=str(path)) from error
    if not rows:
        raise ConfigError("holds no rows", file=str(path))
    return rows


def sha256(path: Path) -> str:
    """The hash of the unpacked rows, so that packing them anew does not change it."""
    with gzip.open(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def labels(rows: Iterable[Row], head: str) -> npt.NDArray[np.int8]:
    """The labels of all *rows* under *head*: 0, 1, or -1 for not known."""
    return np.array([row.label(head) for row in rows], np.int8)


def benign_sources(*files: Iterable[Row]) -> frozenset[str]:
    """Sources without one positive row: ordinary text, on which every finding is a false one."""
    positives: Counter[str] = Counter()
    for row in (row for rows in files for row in rows):
        positives[row.source] += sum(value == 1 for value in row.labels.values())
    return frozenset(source for source, count in positives.items() if not count)


def stream_windows(text: str) -> Iterator[tuple[str, bool, bool]]:
    """*text* as a stream shows it to a classifier: each window with its context, open to the left, open to the right."""
    end = 0
    while end < len(text):
        start = max(0, end - STREAM_CONTEXT)
        end = min(end + (STREAM_WINDOW if end else STREAM_FIRST), len(text))
        yield text[start:end], start > 0, end < len(text)
