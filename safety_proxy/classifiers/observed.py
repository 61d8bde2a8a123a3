"""A classifier under observation: every call is told to somebody who counts, with the time it took and how it ended."""

from __future__ import annotations

import time
from collections.abc import Sequence

from safety_proxy.classifiers.base import Classifier, LocalClassifier, Observer
from safety_proxy.errors import ClassifierError
from safety_proxy.model import Category, Kind, Query, Verdict


def observed(classifier: Classifier, observer: Observer) -> Classifier:
    """*classifier* with *observer* told of each call; local if it is. Verdicts and errors are the same."""
    if isinstance(classifier, LocalClassifier):
        return _ObservedLocal(classifier, observer)
    return _Observed(classifier, observer)


class _Observed:
    def __init__(self, classifier: Classifier, observer: Observer) -> None:
        self._classifier, self._observer = classifier, observer
        self.name, self.identity = classifier.name, classifier.identity
        self.limit, self.overlap = classifier.limit, classifier.overlap
        self.reads_images, self.reads_conversation = classifier.reads_images, classifier.reads_conversation

    def reports(self, kind: Kind, /) -> frozenset[Category]:
        """As the classifier itself."""
        return self._classifier.reports(kind)

    async def classify(self, queries: Sequence[Query], /) -> Sequence[Verdict]:
        """As the classifier itself."""
        started = time.perf_counter()
        try:
            verdicts = await self._classifier.classify(queries)
        except Exception as error:
            self._tell(error.reason if isinstance(error, ClassifierError) else "internal", started)
            raise
        self._tell(_reason(verdicts), started)
        return verdicts

    async def close(self) -> None:
        """As the classifier itself."""
        await self._classifier.close()

    def _tell(self, reason: str | None, started: float) -> None:
        self._observer.classified(self.name, reason, time.perf_counter() - started)


class _ObservedLocal(_Observed):
    def __init__(self, classifier: LocalClassifier, observer: Observer) -> None:
        super().__init__(classifier, observer)
        self._local = classifier

    def classify_now(self, queries: Sequence[Query], /) -> Sequence[Verdict]:
        """As the classifier itself."""
        started = time.perf_counter()
        try:
            verdicts = self._local.classify_now(queries)
        except Exception as error:
            self._tell(error.reason if isinstance(error, ClassifierError) else "internal", started)
            raise
        self._tell(_reason(verdicts), started)
        return verdicts


def _reason(verdicts: Sequence[Verdict]) -> str | None:
    """Why something in *verdicts* stayed undecided, if anything did."""
    return min((reason for verdict in verdicts for reason in verdict.failures.values()), default=None)
