"""What a classifier is, and who is told of what it does."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum, unique
from typing import Final, Literal, Protocol, runtime_checkable

from safety_proxy.model import Category, Kind, Query, Verdict


class Classifier(Protocol):
    """Gives a verdict for each text. Implementations hold no state that a verdict depends on."""

    name: str
    """Its name in the configuration."""
    identity: str
    """Type, model and options in one line: equal identities give equal verdicts. Contains no secret."""
    limit: int | None
    """Longest text it takes at once, in characters (code points); longer ones come through `split`. None: any."""
    overlap: int
    """Characters that two neighbouring parts of a split text share."""
    reads_images: bool
    """Whether it judges the images of a query. Who does not is never asked about a query that has any."""
    reads_conversation: bool
    """Whether it judges a text by what was said before. Who does not is never told (`Query.conversation` is empty)."""

    def reports(self, kind: Kind, /) -> frozenset[Category]:
        """The categories that every verdict on a text of this *kind* tells of."""

    async def classify(self, queries: Sequence[Query], /) -> Sequence[Verdict]:
        """One verdict for each query, in order. Raises `ClassifierError` and nothing else."""

    async def close(self) -> None:
        """Let go of connections."""


@runtime_checkable
class LocalClassifier(Classifier, Protocol):
    """A classifier that needs no network and answers at once: it may be asked without a task of its own."""

    def classify_now(self, queries: Sequence[Query], /) -> Sequence[Verdict]:
        """As `classify`, without waiting."""


@runtime_checkable
class Remembering(Classifier, Protocol):
    """A classifier that knows some verdicts without asking for them."""

    def remembers(self, query: Query, /) -> bool:
        """Whether it would give a verdict on *query* now at no cost."""


@runtime_checkable
class Explaining(Classifier, Protocol):
    """A classifier that can tell which words of a text weighed most, which takes it longer than a verdict."""

    def explain(self, query: Query, /) -> Verdict:
        """The verdict on *query*, with spans."""


@unique
class State(StrEnum):
    """What a circuit breaker does with a call."""

    CLOSED = "closed"
    """Lets it through."""
    OPEN = "open"
    """Refuses it."""
    HALF_OPEN = "half_open"
    """Refuses it, while one that was let through finds out how things are."""


class Observer(Protocol):
    """Told of what classifiers do; counts it. Names are those of the configuration."""

    def classified(self, classifier: str, reason: str | None, seconds: float) -> None:
        """A call ended after so many seconds; *reason* tells why something stayed undecided, if anything did."""

    def repeated(self, classifier: str, route: str, why: Literal["retry", "hedge"]) -> None:
        """A question was put again: after a failure, or beside one whose answer is slow in coming."""

    def breaker(self, classifier: str, route: str, state: State) -> None:
        """A circuit breaker has changed."""

    def looked_up(self, classifier: str, result: Literal["hit", "joined", "miss"], texts: int) -> None:
        """So many texts had a verdict in the cache, are being judged already, or had to be asked about."""

    def stored(self, entries: int, size: int) -> None:
        """The cache of this process now has so many entries, and about so many bytes."""

    def fell_back(self, classifier: str, fallback: str, texts: int) -> None:
        """So many texts that *classifier* left undecided were given to *fallback*."""

    def spared(self, classifier: str, texts: int) -> None:
        """So many texts were settled by the classifiers before this one in a cascade."""


class Unobserved:
    """An `Observer` that counts nothing; those who count some things begin with it."""

    def classified(self, classifier: str, reason: str | None, seconds: float) -> None:
        """As `Observer.classified`."""

    def repeated(self, classifier: str, route: str, why: Literal["retry", "hedge"]) -> None:
        """As `Observer.repeated`."""

    def breaker(self, classifier: str, route: str, state: State) -> None:
        """As `Observer.breaker`."""

    def looked_up(self, classifier: str, result: Literal["hit", "joined", "miss"], texts: int) -> None:
        """As `Observer.looked_up`."""

    def stored(self, entries: int, size: int) -> None:
        """As `Observer.stored`."""

    def fell_back(self, classifier: str, fallback: str, texts: int) -> None:
        """As `Observer.fell_back`."""

    def spared(self, classifier: str, texts: int) -> None:
        """As `Observer.spared`."""


UNOBSERVED: Final[Observer] = Unobserved()
"""Nobody is told."""
