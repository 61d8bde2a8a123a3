"""Classifiers on tape: a run that asked services which cost money, repeated without them.

A `Recorder` writes down what classifiers say, a `Recording` says it again. `safety_proxy.harness.recording_file` has the
file. What is recorded is a verdict for each text: a failure of a call that asked about several is repeated for those of
them on which there was no verdict at another time either.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, Protocol

import orjson

from safety_proxy.classifiers.base import Classifier, Explaining, LocalClassifier
from safety_proxy.errors import ClassifierError, ConfigError
from safety_proxy.harness.cases import Case
from safety_proxy.harness.recording_file import (
    Contents,
    Described,
    Said,
    bytes_of,
    description_of,
    journal_of,
    merge,
    rank,
    read_line,
    read_recording,
    recording_key,
    recording_to,
    write_line,
)
from safety_proxy.model import Category, JSONObject, Kind, Query, Verdict

__all__ = ["Recorder", "Recording", "Tape", "recording_to"]

_EXPLAINED: Final = " explained"
"""What is added to an identity for verdicts that tell which words weighed most."""


class Tape(Protocol):
    """Where verdicts are looked for, and that is told of what was not there."""

    def wrap(self, classifier: Classifier, /) -> Classifier:
        """*classifier* on tape; local if it is. Raises `ConfigError`."""

    def recall(self, name: str, key: bytes, /) -> Said | None:
        """What the classifier called *name* said, if that need not be asked for."""

    def keep(self, name: str, key: bytes, said: Said, /) -> None:
        """It said this now."""

    def check(self, case: Case, /) -> None:
        """Raise `ConfigError` if something went wrong since the last check, in *case*."""

    def close(self) -> None:
        """Let go of files."""


# -------------------------------------------------------------------------------------------------------- recording


class Recorder:
    """A `Tape` that appends what classifiers say to the journal of *path*, inside `recording_to`.

    What the recording holds already is not asked for again, unless something was left open. Raises `ConfigError`.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._old = read_recording(bytes_of(path), str(path)) if path.exists() else Contents()
        self._new: dict[tuple[str, bytes], int] = {}
        """What was appended, with its rank."""
        self._fault: str | None = None
        try:
            self._journal = os.open(journal_of(path), os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
        except OSError as error:
            raise ConfigError(f"cannot be written: {error.strerror}", file=str(path)) from None

    def wrap(self, classifier: Classifier, /) -> Classifier:
        """*classifier* with what it says recorded; local if it is."""
        self._append(orjson.dumps(description_of(classifier)))
        return _taped(self, classifier, description_of(classifier))

    def recall(self, name: str, key: bytes, /) -> Said | None:
        """What the recording held in the beginning, if nothing was left open."""
        line = self._old.said.get(name, {}).get(key)
        return None if line is None or rank(line) else read_line(key, line)

    def keep(self, name: str, key: bytes, said: Said, /) -> None:
        """Record it, unless that was recorded or something better."""
        line = write_line(name, key, said)
        if line is None:
            self._fault = f"what `{name}` says cannot be recorded: it would not be read back as it is"
        elif rank(line) < self._new.get((name, key), 3):
            self._new[name, key] = rank(line)
            self._append(line)

    def check(self, _case: Case, /) -> None:
        """Raise `ConfigError` if something could not be recorded."""
        if self._fault is not None:
            raise ConfigError(self._fault, file=str(self._path))

    def close(self) -> None:
        """Nothing more is recorded."""
        os.close(self._journal)

    def _append(self, line: bytes) -> None:
        data = b"\n" + line + b"\n"
        try:
            written = os.write(self._journal, data)  # one write: lines of several processes do not mix
        except OSError as error:
            self._fault = f"cannot be written: {error.strerror}"
        else:
            if written < len(data):
                self._fault = "cannot be written: no space left"


# -------------------------------------------------------------------------------------------------------- replaying


class Recording:
    """A `Tape` with what was recorded, in *data*; *file* is what it is called. No classifier is asked.

    Raises `ConfigError` if it is no recording.
    """

    def __init__(self, data: bytes, file: str) -> None:
        self._file = file
        self._contents = read_recording(data, file)
        self._missing: set[str] = set()
        self.warnings = (f"{file}: the last line ends too early, and does not count",) if self._contents.torn else ()

    @staticmethod
    def read(path: Path) -> bytes:
        """The recording at *path*, with what an interrupted run left in its journal. Raises `ConfigError`."""
        merge(path)
        return bytes_of(path)

    def wrap(self, classifier: Classifier, /) -> Classifier:
        """The recorded classifier in the place of this one. Raises `ConfigError` if they are not the same."""
        then, now = self._description(classifier.name), description_of(classifier)
        for name, value in now.items():
            if then.get(name) != value:
                changed = f"{name} was {then.get(name)}, is {value}"
                raise ConfigError(f"`{classifier.name}` is not what was recorded: {changed}; record again", file=self._file)
        return _taped(self, Described(then, classifier), then)

    def classifier(self, name: str) -> Classifier:
        """The recorded classifier of this name. Raises `ConfigError` if there is none."""
        description = self._description(name)
        return _taped(self, Described(description), description)

    def recall(self, name: str, key: bytes, /) -> Said | None:
        """What the classifier called *name* said."""
        line = self._contents.said.get(name, {}).get(key)
        return None if line is None else read_line(key, line)

    def keep(self, name: str, _key: bytes, _said: Said, /) -> None:
        """That was not recorded; `check` tells."""
        self._missing.add(name)

    def check(self, case: Case, /) -> None:
        """Raise `ConfigError` if something was asked for since the last check that was not recorded."""
        if self._missing:
            names = ", ".join(f"`{name}`" for name in sorted(self._missing))
            self._missing.clear()
            message = (
                f"what {names} says of this case is not recorded in {self._file}; record again, with the same policies,"
            )
            raise ConfigError(f"{message} cuttings and seed", file=case.place)

    def close(self) -> None:
        """Nothing is held open."""

    def _description(self, name: str) -> JSONObject:
        if name not in self._contents.classifiers:
            known = ", ".join(sorted(self._contents.classifiers)) or "none"
            raise ConfigError(f"no classifier `{name}` is recorded; recorded are: {known}", file=self._file)
        return self._contents.classifiers[name]


# ------------------------------------------------------------------------------------------------------ classifiers


def _taped(tape: Tape, classifier: Classifier, description: JSONObject) -> Classifier:
    """*classifier* with the tape in front of it; local, and explaining, if it is so described."""
    if not isinstance(classifier, LocalClassifier) or not description["local"]:
        return _Distant(tape, classifier)
    if not isinstance(classifier, Explaining) or not description["explains"]:
        return _Local(tape, classifier)
    return _Explaining(tape, classifier, classifier.explain)


class _Distant:
    """A `Classifier`."""

    def __init__(self, tape: Tape, classifier: Classifier) -> None:
        self._tape, self._classifier = tape, classifier
        self.name, self.identity = classifier.name, classifier.identity
        self.limit, self.overlap = classifier.limit, classifier.overlap
        self.reads_images, self.reads_conversation = classifier.reads_images, classifier.reads_conversation

    def reports(self, kind: Kind, /) -> frozenset[Category]:
        """As the classifier itself."""
        return self._classifier.reports(kind)

    async def classify(self, queries: Sequence[Query], /) -> Sequence[Verdict]:
        """One verdict for each query, in order: from the tape; the classifier is asked about the others."""
        known = self._recall(queries)
        wanted = [query for query, said in zip(queries, known, strict=True) if said is None]
        try:
            told: Sequence[Said] = await self._classifier.classify(wanted) if wanted else ()
        except ClassifierError as error:
            told = [error] * len(wanted)
        return self._answer(queries, known, self._keep(wanted, told))

    async def close(self) -> None:
        """As the classifier itself."""
        await self._classifier.close()

    def _recall(self, queries: Sequence[Query]) -> list[Said | None]:
        return [self._tape.recall(self.name, recording_key(query, self.identity)) for query in queries]

    def _keep(self, queries: Sequence[Query], told: Sequence[Said]) -> Sequence[Said]:
        for query, said in zip(queries, told, strict=True):
            self._tape.keep(self.name, recording_key(query, self.identity), said)
        return told

    def _answer(self, queries: Sequence[Query], known: Sequence[Said | None], told: Sequence[Said]) -> list[Verdict]:
        """As one call tells it: who asks about several texts gets what was decided; if that is nothing, the error."""
        rest = iter(told)
        said = [next(rest) if each is None else each for each in known]
        decided = any(isinstance(each, Verdict) for each in said)
        answer = []
        for each, query in zip(said, queries, strict=True):
            if isinstance(each, ClassifierError):
                categories = self.reports(query.kind) if each.categories is None else each.categories
                if not decided or not categories:
                    raise each
                answer.append(Verdict(failures=dict.fromkeys(sorted(categories), each.reason)))
            else:
                answer.append(each)
        return answer


class _Local(_Distant):
    """A `LocalClassifier`."""

    def __init__(self, tape: Tape, classifier: LocalClassifier) -> None:
        super().__init__(tape, classifier)
        self._local = classifier

    def classify_now(self, queries: Sequence[Query], /) -> Sequence[Verdict]:
        """As `classify`, without waiting."""
        known = self._recall(queries)
        wanted = [query for query, said in zip(queries, known, strict=True) if said is None]
        try:
            told: Sequence[Said] = self._local.classify_now(wanted) if wanted else ()
        except ClassifierError as error:
            told = [error] * len(wanted)
        return self._answer(queries, known, self._keep(wanted, told))


class _Explaining(_Local):
    """A `LocalClassifier` that is `Explaining`, too."""

    def __init__(self, tape: Tape, classifier: LocalClassifier, explain: Callable[[Query], Verdict]) -> None:
        super().__init__(tape, classifier)
        self._explain = explain

    def explain(self, query: Query, /) -> Verdict:
        """The verdict on *query*, with spans."""
        key = recording_key(query, self.identity + _EXPLAINED)
        said = self._tape.recall(self.name, key)
        if not isinstance(said, Verdict):
            said = self._explain(query)
            self._tape.keep(self.name, key, said)
        return said
