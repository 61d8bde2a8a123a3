"""Scripted classifiers of kinds that the package's own one is not."""

from __future__ import annotations

from collections.abc import Sequence

from safety_proxy.model import Query, Verdict
from safety_proxy.testing import ScriptedClassifier


class Local(ScriptedClassifier):
    """Answers at once."""

    def classify_now(self, queries: Sequence[Query], /) -> Sequence[Verdict]:
        self.asked += queries
        return [self._verdict(query) for query in queries]


class Limited(ScriptedClassifier):
    """Takes ten characters at a time."""

    limit: int | None = 10
    overlap: int = 4
