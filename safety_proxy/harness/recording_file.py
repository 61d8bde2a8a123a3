"""The file of a recording: which verdicts were given, and no text.

It is JSON Lines::

    {"recording": 1}
    {"classifier": "azure", "identity": "azure_content_safety:...", "limit": 10000, "overlap": 1000, "reports": {...}, ...}
    {"classifier": "azure", "key": "60303ae22b998861...", "error": "timeout"}
    {"classifier": "azure", "key": "9f86d081884c7d65...", "verdict": {...}, "failures": {"hate": "timeout"}}

A ``key`` is made of all that a verdict may depend on, as in `safety_proxy.classifiers.cache_keys`, but with a secret that
everybody knows: who guesses a text can find out whether it was asked about. The lines are sorted, one for each key, so that
two recordings can be compared.

While verdicts are recorded, lines go to a journal beside it, ``FILE.journal``. Any number of processes of a machine append
to it, each line in one write that begins with a line end, so that what a dying process left unfinished spoils nothing
else. `merge` writes the file anew from both, and puts it in place as a whole.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final, TypeAlias

import orjson

from safety_proxy.classifiers import verdict_json
from safety_proxy.classifiers.base import Classifier, Explaining, LocalClassifier
from safety_proxy.classifiers.cache_keys import key_of
from safety_proxy.errors import ClassifierError, ConfigError
from safety_proxy.jsontext import as_object
from safety_proxy.model import JSON, Category, JSONObject, Kind, Query, Verdict

VERSION: Final = 1
_SECRET: Final = b"safety-proxy recording"
"""Known to all, so that every machine finds what another recorded."""
_KEY: Final = 16
"""Bytes of a key: two texts out of a billion share one with a probability of less than 1e-20."""
_HEADER: Final = orjson.dumps({"recording": VERSION})

Said: TypeAlias = Verdict | ClassifierError


class OddLineError(ValueError):
    """It is no line of a recording."""


# ----------------------------------------------------------------------------------------------------------- lines


def recording_key(query: Query, identity: str) -> bytes:
    """What the verdict of the classifier of this *identity* on *query* is found by, whoever's text it is."""
    return key_of(query, identity, secret=_SECRET, shared=True)[:_KEY]


def description_of(classifier: Classifier) -> JSONObject:
    """All that the engine knows of a classifier, but for what it says."""
    return {
        "classifier": classifier.name,
        "identity": classifier.identity,
        "limit": classifier.limit,
        "overlap": classifier.overlap,
        "reads_images": classifier.reads_images,
        "reads_conversation": classifier.reads_conversation,
        "local": isinstance(classifier, LocalClassifier),
        "explains": isinstance(classifier, Explaining),
        "reports": {kind.value: [each.value for each in sorted(classifier.reports(kind))] for kind in Kind},
    }


class Described:
    """What is known of a classifier that is not asked; *live* is closed with it."""

    def __init__(self, description: JSONObject, live: Classifier | None = None) -> None:
        self._live = live
        self.name, self.identity = str(description["classifier"]), str(description["identity"])
        limit, overlap, reports = description["limit"], description["overlap"], as_object(description["reports"])
        self.limit = limit if isinstance(limit, int) else None
        self.overlap = overlap if isinstance(overlap, int) else 0
        self.reads_images, self.reads_conversation = (
            bool(description["reads_images"]),
            bool(description["reads_conversation"]),
        )
        self._reports = {kind: _categories(reports.get(kind.value)) for kind in Kind}

    def reports(self, kind: Kind, /) -> frozenset[Category]:
        """As was recorded."""
        return self._reports[kind]

    def classify_now(self, _queries: Sequence[Query], /) -> Sequence[Verdict]:
        """Raises: this was not recorded."""
        raise ClassifierError("not_recorded")

    async def classify(self, queries: Sequence[Query], /) -> Sequence[Verdict]:
        """Raises: this was not recorded."""
        return self.classify_now(queries)

    def explain(self, _query: Query, /) -> Verdict:
        """Nothing: this was not recorded."""
        return Verdict()

    async def close(self) -> None:
        """As the classifier itself."""
        if self._live is not None:
            await self._live.close()


def _categories(names: JSON) -> frozenset[Category]:
    return frozenset(Category(str(name)) for name in names) if isinstance(names, list) else frozenset()


def write_line(name: str, key: bytes, said: Said) -> bytes | None:
    """What was said as a line, or None if it cannot be written without loss."""
    line: dict[str, object] = {"classifier": name, "key": key.hex()}
    if isinstance(said, ClassifierError):
        line["error"] = said.reason
        if said.categories is not None:
            line["categories"] = [category.value for category in sorted(said.categories)]
    else:
        written = verdict_json.write(key, replace(said, failures={}))
        if written is None:
            return None
        line["verdict"] = orjson.Fragment(written)
        if said.failures:
            line["failures"] = {category.value: reason for category, reason in sorted(said.failures.items())}
    return orjson.dumps(line)


def read_line(key: bytes, line: bytes) -> Said | None:
    """What a line says; None if it is not one of ours."""
    content = as_object(orjson.loads(line))
    try:
        if isinstance(reason := content.get("error"), str):
            named = content.get("categories")
            return ClassifierError(reason, categories=[Category(str(n)) for n in named] if isinstance(named, list) else None)
        verdict = verdict_json.read(key, orjson.dumps(content.get("verdict")))
        failures = {Category(name): str(reason) for name, reason in as_object(content.get("failures")).items()}
    except ValueError:
        return None
    return None if verdict is None else replace(verdict, failures=failures)


@dataclass(slots=True)
class Contents:
    """What stands in a recording."""

    classifiers: dict[str, JSONObject] = field(default_factory=dict)
    said: dict[str, dict[bytes, bytes]] = field(default_factory=dict)
    """By classifier: the line of each key."""
    torn: bool = False
    """The last line was left unfinished, and does not count."""

    def take(self, line: bytes) -> None:
        """Add a line; of two about the same the one that leaves less open stays. Raises `OddLineError`."""
        try:
            content = as_object(orjson.loads(line))
        except orjson.JSONDecodeError:
            raise OddLineError from None
        name, key = content.get("classifier"), content.get("key")
        if not isinstance(name, str):
            raise OddLineError
        if isinstance(key, str):
            told = self.said.setdefault(name, {})
            raw = _unhex(key)
            told[raw] = min(told.get(raw, line), line, key=lambda each: (rank(each), each))
        elif self.classifiers.get(name) != content:
            self.classifiers[name] = content
            self.said[name] = {}  # what another of the same name said is of no use

    def lines(self) -> Iterator[bytes]:
        """All of it, in an order that depends on nothing else."""
        yield _HEADER
        for name in sorted(self.classifiers):
            yield orjson.dumps(self.classifiers[name])
        for name in sorted(self.classifiers):
            said = self.said.get(name, {})
            yield from (said[key] for key in sorted(said))


def _unhex(key: str) -> bytes:
    try:
        return bytes.fromhex(key)
    except ValueError:
        raise OddLineError from None


def rank(line: bytes) -> int:
    """How much is left open: 0 nothing, 1 some categories, 2 all."""
    return 2 if b'"verdict":' not in line else 1 if b'"failures":' in line else 0


# ----------------------------------------------------------------------------------------------------------- files


def journal_of(path: Path) -> Path:
    """Where lines are appended that the recording at *path* does not hold yet."""
    return path.with_name(f"{path.name}.journal")


def bytes_of(path: Path) -> bytes:
    """What stands in a file. Raises `ConfigError`."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(f"cannot be read: {error.strerror}", file=str(path)) from None


def read_recording(data: bytes, file: str) -> Contents:
    """What stands in a recording. Raises `ConfigError`, but not for a last line that ends too early."""
    contents = Contents()
    first, *lines = data.split(b"\n")
    if first != _HEADER:
        raise ConfigError("is no recording of this version; record again, to another file", file=file, line=1)
    for number, line in enumerate(lines, 2):
        try:
            if line.strip():
                contents.take(line)
        except OddLineError:
            if number <= len(lines):  # a line end follows
                raise ConfigError("is no line of a recording", file=file, line=number) from None
            contents.torn = True
    return contents


def merge(path: Path) -> None:
    """Take what the journal holds into the recording at *path*; lines that were left unfinished are lost.

    Nothing may be recorded there meanwhile. Without a journal nothing happens. Raises `ConfigError`.
    """
    journal = journal_of(path)
    if not journal.exists():
        return
    contents = read_recording(bytes_of(path), str(path)) if path.exists() else Contents()
    for line in bytes_of(journal).split(b"\n"):
        with suppress(OddLineError):
            if line:
                contents.take(line)
    fresh = path.with_name(f"{path.name}.new")
    try:
        with fresh.open("wb") as file:
            file.writelines(line + b"\n" for line in contents.lines())
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)
        journal.unlink()
    except OSError as error:
        raise ConfigError(f"cannot be written: {error.strerror}", file=str(path)) from None


@contextmanager
def recording_to(path: Path) -> Iterator[None]:
    """While verdicts are recorded to *path*. What a run before left in the journal is kept, too.

    Whoever records must have ended before the end of the block. Raises `ConfigError`.
    """
    merge(path)
    if path.exists():
        read_recording(bytes_of(path), str(path))
    try:
        journal_of(path).touch()
    except OSError as error:
        raise ConfigError(f"cannot be written: {error.strerror}", file=str(path)) from None
    try:
        yield
    finally:
        merge(path)
