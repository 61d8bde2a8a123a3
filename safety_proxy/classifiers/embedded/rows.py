r"""Labelled rows, as training and evaluation read them.

A file is either gzipped JSON lines (``.jsonl.gz``), each ``{"text", "labels": {head: 0 | 1 | null}, "severity": {category:
2 | 4 | 6} or null, "source", "licence"}`` where null means not known and other keys are ignored; or text (``.txt``) as
the rows in ``authored/`` are written: a line ``## group | is: head, head | maybe: head`` says what holds for the texts
below it, one in each line, with ``\n`` for a line break. What is neither in ``is`` nor in ``maybe`` is 0.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from safety_proxy.classifiers.embedded.model import HEADS
from safety_proxy.errors import ConfigError

AUTHORED: Final = "authored for safety_proxy"
"""How the sources of our own rows begin; the name of the file follows."""
CHALLENGE: Final = "challenge.txt"
"""Our own rows that are kept for evaluation: nothing is learnt from them, and no choice was made on them alone."""
LANGUAGES: Final = ("de", "es", "fr", "it", "nl", "pt")
"""Files of our own rows in other languages than English."""
TENTH: Final = 10
"""One of so many of our own rows is a development row."""
STREAM_FIRST: Final = 80
STREAM_WINDOW: Final = 120
STREAM_CONTEXT: Final = 180
"""The default windows of a stream (a policy's ``stream.first_window``, ``window`` and ``context``)."""

_LICENCE: Final = "CC0-1.0"


@dataclass(frozen=True, slots=True)
class Row:
    """One text and what is known of it."""

    text: str
    labels: Mapping[str, int | None]
    """0 or 1 for each head; a head that is absent or None is not known."""
    source: str
    licence: str = ""
    severity: Mapping[str, int] = field(default_factory=dict)
    group: str = ""
    """What our own rows are about; empty for others."""

    def label(self, head: str) -> int:
        """0, 1, or -1 for not known."""
        value = self.labels.get(head)
        return -1 if value is None else value


def read_rows(path: Path) -> list[Row]:
    """The rows of a file. Raises `ConfigError`, naming the line, if it cannot be read; no text is shown."""
    rows = _read_authored(path.name, _lines(path)) if path.suffix == ".txt" else _read_json(path)
    if not rows:
        raise ConfigError("holds no rows", file=str(path))
    return rows


def authored_rows() -> tuple[list[Row], list[Row]]:
    """The rows written for this project: those to learn from and, a tenth by hash of the text, those to tune with."""
    folder = resources.files(__package__).joinpath("authored")
    names = sorted(entry.name for entry in folder.iterdir() if entry.name.endswith(".txt") and entry.name != CHALLENGE)
    rows = [row for name in names for row in _read_authored(name, folder.joinpath(name).read_text(encoding="utf-8"))]
    learnt: list[Row] = []
    tuned: list[Row] = []
    for row in rows:
        (learnt if zlib.crc32(row.text.encode()) % TENTH else tuned).append(row)
    return learnt, tuned


def _lines(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise ConfigError("cannot be read as text", file=str(path)) from error


def _read_authored(name: str, content: str) -> list[Row]:
    rows = []
    group, labels = "", None
    for number, line in enumerate(content.split("\n"), 1):
        if line.startswith("## "):
            group, labels = _heading(name, number, line)
        elif line.strip():
            if labels is None:
                raise ConfigError("stands before the first heading", file=name, line=number)
            rows.append(Row(line.replace("\\n", "\n"), labels, f"{AUTHORED}: {name}", _LICENCE, group=group))
    return rows


def _heading(name: str, number: int, line: str) -> tuple[str, dict[str, int | None]]:
    """The group and the labels that a line such as ``## group | is: hate | maybe: violence`` names."""
    group, *parts = (part.strip() for part in line.removeprefix("## ").split("|"))
    named: dict[str, list[str]] = {}
    for part in parts:
        key, _, heads = part.partition(":")
        named[key.strip()] = [head.strip() for head in heads.split(",") if head.strip()]
    wrong = {head for heads in named.values() for head in heads} - set(HEADS)
    if not named.keys() <= {"is", "maybe"} or wrong:
        raise ConfigError("is no heading such as `## group | is: hate | maybe: violence`", file=name, line=number)
    labels: dict[str, int | None] = dict.fromkeys(HEADS, 0)
    # Whether hate is also an insult is a question of taste: it is known where somebody wrote it down.
    labels |= {"harassment": None} if "hate" in named.get("is", ()) else {}
    labels |= dict.fromkeys(named.get("maybe", ()))
    labels |= dict.fromkeys(named.get("is", ()), 1)
    return group, labels


def _read_json(path: Path) -> list[Row]:
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
    except (OSError, EOFError, UnicodeDecodeError, zlib.error) as error:
        raise ConfigError("cannot be read as gzipped lines", file=str(path)) from error
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
