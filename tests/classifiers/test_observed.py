"""An observed classifier says what it said before, and every call is told."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from safety_proxy.classifiers.base import LocalClassifier, Unobserved
from safety_proxy.classifiers.observed import observed
from safety_proxy.errors import ClassifierError
from safety_proxy.model import Category, Kind, Query, Verdict
from safety_proxy.testing import ScriptedClassifier

QUERY = Query("a kind word", Kind.USER_PROMPT)


class Local(ScriptedClassifier):
    limit: int | None = 7
    overlap: int = 2

    def classify_now(self, queries: Sequence[Query], /) -> Sequence[Verdict]:
        return [self._verdict(query) for query in queries]


class Broken(Local):
    def _verdict(self, query: Query) -> Verdict:
        raise ZeroDivisionError


class Told(Unobserved):
    def __init__(self) -> None:
        self.calls: list[tuple[str, str | None]] = []

    def classified(self, classifier: str, reason: str | None, seconds: float) -> None:
        assert seconds >= 0
        self.calls.append((classifier, reason))


async def test_verdicts_and_properties_are_those_of_the_classifier() -> None:
    told, classifier = Told(), Local({"kind": (Category.HATE, 2)}, name="inner")
    watched = observed(classifier, told)

    assert await watched.classify([QUERY]) == classifier.classify_now([QUERY])
    assert (watched.name, watched.identity, watched.limit, watched.overlap) == ("inner", "inner", 7, 2)
    assert watched.reports(Kind.DOCUMENT) == classifier.reports(Kind.DOCUMENT)
    await watched.close()
    assert classifier.closed
    assert told.calls == [("inner", None)]


def test_what_is_local_stays_local_and_what_is_not_does_not_become_so() -> None:
    told = Told()
    local, distant = observed(Local(), told), observed(ScriptedClassifier(), told)

    assert isinstance(local, LocalClassifier)
    assert not isinstance(distant, LocalClassifier)
    assert len(local.classify_now([QUERY, QUERY])) == 2
    assert told.calls == [("scripted", None)]


@pytest.mark.parametrize(
    ("classifier", "error", "reason"),
    [(Local(errors={"kind": "timeout"}), ClassifierError, "timeout"), (Broken(), ZeroDivisionError, "internal")],
)
async def test_a_failure_is_told_with_its_reason_and_raised(classifier: Local, error: type[Exception], reason: str) -> None:
    told = Told()
    watched = observed(classifier, told)
    with pytest.raises(error):
        await watched.classify([QUERY])
    assert isinstance(watched, LocalClassifier)
    with pytest.raises(error):
        watched.classify_now([QUERY])

    assert told.calls == [("scripted", reason)] * 2
