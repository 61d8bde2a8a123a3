"""A classifier under observation: every call is told to somebody who counts, with the time it took and how it ended."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TypeAlias

from safety_proxy.classifiers.base import Classifier, LocalClassifier
from safety_proxy.errors import ClassifierError
from safety_proxy.model import Category, Kind, Query, Verdict

Observer: TypeAlias = Callable[[str, str | None, float], None]
"""Told the classifier's name, the reason if there was no verdict, and the seconds."""


def observed(classifier: Classifier, observe: Observer) -> Classifier:
    """*classifier* with *observe* told of each call; local if it is. Verdicts and errors are the same."""
    if isinstance(classifier, LocalClassifier):
        return _ObservedLocal(classifier, observe)
    return _Observed(classifier, observe)


class _Observed:
    def __init__(self, classifier: Classifier, observe: Observer) -> None:
        self._classifier, self._observe = classifier, observe
        self.name, self.identity = classifier.name, classifier.identity
        self.limit, self.overlap = classifier.limit, classifier.overlap
        self.reads_images = classifier.reads_images

    def reports(self, kind: Kind, /) -> frozenset[Category]:
        """As the classifier itself."""
        return self._classifier.reports(kind)

    async def classify(self, queries: Sequence[Query], /) -> Sequence[Verdict]:
        """As the classifier itself."""
        started = time.perf_counter()
        try:
            verdicts = await self._classifier.classify(queries)
        except Exception as error:
            self._tell(error, started)
            raise
        self._tell(None, started)
        return verdicts

    async def close(self) -> None:
        """As the classifier itself."""
        await self._classifier.close()

    def _tell(self, error: Exception | None, started: float) -> None:
        reason = None if error is None else error.reason if isinstance(error, ClassifierError) else "internal"
        self._observe(self.name, reason, time.perf_counter() - started)


class _ObservedLocal(_Observed):
    def __init__(self, classifier: LocalClassifier, observe: Observer) -> None:
        super().__init__(classifier, observe)
        self._local = classifier

    def classify_now(self, queries: Sequence[Query], /) -> Sequence[Verdict]:
        """As the classifier itself."""
        started = time.perf_counter()
        try:
            verdicts = self._local.classify_now(queries)
        except Exception as error:
            self._tell(error, started)
            raise
        self._tell(None, started)
        return verdicts
