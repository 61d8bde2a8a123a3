from __future__ import annotations

from collections.abc import Sequence

from safety_proxy.classifiers.base import UNOBSERVED, Classifier, LocalClassifier, Observer, Remembering, State
from safety_proxy.model import Category, Kind, Query, Verdict


class Remote:
    name = identity = "remote"
    limit: int | None = None
    overlap = 0
    reads_images = False
    reads_conversation = False

    def reports(self, kind: Kind, /) -> frozenset[Category]:
        return frozenset()

    async def classify(self, queries: Sequence[Query], /) -> Sequence[Verdict]:
        return [Verdict() for _ in queries]

    async def close(self) -> None:
        """Nothing to close."""


class Local(Remote):
    def classify_now(self, queries: Sequence[Query], /) -> Sequence[Verdict]:
        return [Verdict() for _ in queries]


class Elephant(Remote):
    def remembers(self, query: Query, /) -> bool:
        return True


class TestClassifier:
    def test_only_one_that_answers_at_once_is_local(self) -> None:
        remote: Classifier = Remote()
        local: LocalClassifier = Local()
        assert not isinstance(remote, LocalClassifier)
        assert isinstance(local, LocalClassifier)

    def test_only_one_that_knows_verdicts_remembers(self) -> None:
        elephant: Remembering = Elephant()
        assert isinstance(elephant, Remembering)
        assert not isinstance(Local(), Remembering)


class TestObserver:
    def test_nobody_may_be_told_of_anything(self) -> None:
        nobody: Observer = UNOBSERVED
        nobody.classified("it", "timeout", 0.1)
        nobody.repeated("it", "route", "retry")
        nobody.breaker("it", "route", State.OPEN)
        nobody.looked_up("it", "hit", 1)
        nobody.stored(1, 1000)
        nobody.fell_back("it", "other", 1)
        nobody.spared("it", 1)


class TestState:
    def test_the_values_are_the_words_of_logs(self) -> None:
        assert [state.value for state in State] == ["closed", "open", "half_open"]
