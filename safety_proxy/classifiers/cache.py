"""Verdicts that are kept, so that the old turns of a conversation are not judged, nor paid for, again.

`VerdictCache.wrap` puts memory in front of a classifier. What is not there is looked for in the store that machines share,
if there is one, and then asked for: once, however many ask at that moment (`safety_proxy.classifiers.flights`). Failures
are never kept. Keys are made in `safety_proxy.classifiers.cache_keys`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field
from functools import partial
from typing import Literal, Protocol, TypeAlias

import structlog

from safety_proxy.classifiers.base import UNOBSERVED, Classifier, LocalClassifier, Observer
from safety_proxy.classifiers.cache_keys import key_of
from safety_proxy.classifiers.flights import Flight, Flights, Landing, Outcome
from safety_proxy.classifiers.memory_store import MemoryStore
from safety_proxy.errors import ClassifierError
from safety_proxy.model import Category, Kind, Query, Verdict

__all__ = ["MemoryStore", "Store", "VerdictCache"]

log = structlog.get_logger("safety_proxy.classifiers")

_Result: TypeAlias = Literal["hit", "joined", "miss"]


class Store(Protocol):
    """Where several processes keep verdicts. None of its methods raises: what it cannot do has not been kept."""

    async def get_many(self, keys: Sequence[bytes], /) -> Sequence[Verdict | None]:
        """What is kept under each of *keys*, in order. Answers in a bounded time."""

    async def put_many(self, verdicts: Mapping[bytes, Verdict], /) -> None:
        """Keep each verdict under its key. Returns in a bounded time."""

    async def close(self) -> None:
        """Let go of connections."""


class VerdictCache:
    """Keeps the verdicts of the classifiers that it wraps, in *memory*, and in a *shared_store* behind it; both may be None.

    Keys are made with *secret*: caches of several machines with the same one, and the same *shared*, find each other's
    verdicts in the store. If *shared*, so do tenants. A verdict that came from the store is kept in memory for a whole time
    of its own, so it is at most as old as both times together. *observer* is told of look-ups and of what memory holds.
    """

    def __init__(
        self,
        memory: MemoryStore | None,
        shared_store: Store | None = None,
        *,
        secret: bytes,
        shared: bool = False,
        observer: Observer = UNOBSERVED,
    ) -> None:
        self._keeping = _Keeping(memory, shared_store, secret, shared, observer)
        self._flights: list[Flights] = []

    def wrap(self, classifier: Classifier) -> Classifier:
        """*classifier* with its verdicts kept; a `Remembering` one, and local if it is.

        Of a local classifier, verdicts on completions are not kept, since judging anew costs less than what they would push
        out, and nothing goes to the shared store, which is farther away than the classifier.
        """
        if isinstance(classifier, LocalClassifier):
            return _KeptLocal(classifier, self._keeping)
        flights = Flights()
        self._flights.append(flights)
        return _Kept(classifier, self._keeping, flights)

    async def close(self) -> None:
        """Call off what is being asked, and let go of the store. The classifiers are closed by who made them."""
        for flights in self._flights:
            await flights.close()
        if self._keeping.store is not None:
            await self._keeping.store.close()


@dataclass(frozen=True, slots=True)
class _Keeping:
    """Where verdicts are kept, and how: what all classifiers of a cache have in common."""

    memory: MemoryStore | None
    store: Store | None
    secret: bytes
    shared: bool
    observer: Observer

    def recall(self, key: bytes) -> Verdict | None:
        return None if self.memory is None else self.memory.get(key)

    def remember(self, verdicts: Mapping[bytes, Verdict]) -> None:
        if self.memory is not None and verdicts:
            for key, verdict in verdicts.items():
                self.memory.put(key, verdict)
            self.observer.stored(len(self.memory), self.memory.size)


class _Wrapped:
    """What both kinds of wrapped classifiers are made of."""

    def __init__(self, classifier: Classifier, keeping: _Keeping) -> None:
        self._classifier, self._keeping = classifier, keeping
        self.name, self.identity = classifier.name, classifier.identity
        self.limit, self.overlap = classifier.limit, classifier.overlap
        self.reads_images, self.reads_conversation = classifier.reads_images, classifier.reads_conversation

    def reports(self, kind: Kind, /) -> frozenset[Category]:
        """As the classifier itself."""
        return self._classifier.reports(kind)

    def remembers(self, query: Query, /) -> bool:
        """Whether the verdict on *query* is in memory."""
        memory = self._keeping.memory
        return memory is not None and self._key(query) in memory

    async def close(self) -> None:
        """As the classifier itself."""
        await self._classifier.close()

    def _key(self, query: Query) -> bytes:
        return key_of(query, self.identity, secret=self._keeping.secret, shared=self._keeping.shared)

    def _worth_keeping(self, verdict: Verdict, query: Query) -> bool:
        """Nothing is left undecided. What a verdict does not mention it did not judge, even if it tells of no failure."""
        return not verdict.failures and all(verdict.reports(category) for category in self.reports(query.kind))

    def _tell(self, result: _Result, texts: int) -> None:
        if texts:
            self._keeping.observer.looked_up(self.name, result, texts)


# -------------------------------------------------------------------------------------------------------------- distant


class _Kept(_Wrapped):
    """A `Classifier`. Who asks about several texts gets what could be decided; if that is nothing, an error."""

    def __init__(self, classifier: Classifier, keeping: _Keeping, flights: Flights) -> None:
        super().__init__(classifier, keeping)
        self._flights = flights

    async def classify(self, queries: Sequence[Query], /) -> Sequence[Verdict]:
        """One verdict for each query, in order: from memory, from a flight that is under way, or from one of its own."""
        keys = [self._key(query) for query in queries]
        found: dict[bytes, Outcome] = {}
        boarding: dict[bytes, Flight] = {}
        wanted: dict[bytes, Query] = {}
        hits = 0
        for key, query in zip(keys, queries, strict=True):
            if (verdict := self._keeping.recall(key)) is not None:
                found[key] = verdict
                hits += 1
            elif (flight := self._flights.find(key)) is not None:
                boarding[key] = flight
            else:
                wanted[key] = query
        self._tell("hit", hits)
        self._tell("joined", len(queries) - hits - len(wanted))
        if wanted:
            boarding |= dict.fromkeys(wanted, self._flights.start(wanted, partial(self._find, wanted)))
        if boarding:
            await self._flights.ride(set(boarding.values()))
            found |= {key: flight.landing[key] for key, flight in boarding.items()}
        return self._verdicts([found[key] for key in keys], queries)

    async def close(self) -> None:
        """Calls off what is being asked, then as the classifier itself."""
        await self._flights.close()
        await super().close()

    def _verdicts(self, outcomes: Sequence[Outcome], queries: Sequence[Query]) -> list[Verdict]:
        """The outcomes as a call of `classify` tells them."""
        verdicts = [outcome for outcome in outcomes if isinstance(outcome, Verdict)]
        if len(verdicts) == len(outcomes):
            return verdicts
        told = []
        for outcome, query in zip(outcomes, queries, strict=True):
            if isinstance(outcome, ClassifierError):
                categories = self.reports(query.kind) if outcome.categories is None else outcome.categories
                if not verdicts or not categories:
                    raise copy(outcome)  # an instance of one's own: others who waited raise it, too
                told.append(Verdict(failures=dict.fromkeys(sorted(categories), outcome.reason)))
            else:
                told.append(outcome)
        return told

    async def _find(self, wanted: Mapping[bytes, Query]) -> Landing:
        """What becomes of each text, for all who wait for it."""
        try:
            return await self._find_anew(wanted)
        except Exception as error:  # noqa: BLE001 - whatever it is, the texts have no verdict
            mistake = type(error)
        log.error("classifier.broken", classifier=self.name, error=mistake.__name__)  # its words may quote a text
        return dict.fromkeys(wanted, ClassifierError("internal"))

    async def _find_anew(self, wanted: Mapping[bytes, Query]) -> Landing:
        fetched = await self._fetch(wanted)
        asked = {key: query for key, query in wanted.items() if key not in fetched}
        self._tell("hit", len(fetched))
        self._tell("miss", len(asked))
        self._keeping.remember(fetched)
        if not asked:
            return fetched
        try:
            answers = await self._classifier.classify(list(asked.values()))
        except ClassifierError as error:
            return {**fetched, **dict.fromkeys(asked, error)}
        verdicts = dict(zip(asked, answers, strict=True))
        worthy = {key: verdict for key, verdict in verdicts.items() if self._worth_keeping(verdict, asked[key])}
        self._keeping.remember(worthy)
        if self._keeping.store is not None and worthy:
            await self._keeping.store.put_many(worthy)
        return {**fetched, **verdicts}

    async def _fetch(self, wanted: Mapping[bytes, Query]) -> dict[bytes, Verdict]:
        """What the shared store has of it, as far as it tells of all that it should."""
        if self._keeping.store is None:
            return {}
        kept = await self._keeping.store.get_many(list(wanted))
        return {
            key: verdict
            for (key, query), verdict in zip(wanted.items(), kept, strict=True)
            if verdict is not None and self._worth_keeping(verdict, query)
        }


# ---------------------------------------------------------------------------------------------------------------- local


@dataclass(frozen=True, slots=True)
class _Plan:
    """What is known and what has to be asked."""

    keys: list[bytes] = field(default_factory=list)
    """Of each query, in order."""
    found: dict[bytes, Verdict] = field(default_factory=dict)
    wanted: dict[bytes, Query] = field(default_factory=dict)
    passing: set[bytes] = field(default_factory=set)
    """Keys of what is not kept."""


class _KeptLocal(_Wrapped):
    """A `LocalClassifier`."""

    def __init__(self, classifier: LocalClassifier, keeping: _Keeping) -> None:
        super().__init__(classifier, keeping)
        self._local = classifier

    def remembers(self, query: Query, /) -> bool:
        """Whether the verdict on *query* is in memory. It never is on a completion."""
        return query.kind is not Kind.COMPLETION and super().remembers(query)

    def classify_now(self, queries: Sequence[Query], /) -> Sequence[Verdict]:
        """One verdict for each query, in order: from memory, or from one call of the classifier for all others."""
        if all(query.kind is Kind.COMPLETION for query in queries):
            return self._local.classify_now(queries)
        plan = self._look_up(queries)
        return self._fill(plan, self._local.classify_now(list(plan.wanted.values())) if plan.wanted else ())

    async def classify(self, queries: Sequence[Query], /) -> Sequence[Verdict]:
        """As `classify_now`; the classifier may take a thread for it."""
        if all(query.kind is Kind.COMPLETION for query in queries):
            return await self._local.classify(queries)
        plan = self._look_up(queries)
        return self._fill(plan, await self._local.classify(list(plan.wanted.values())) if plan.wanted else ())

    def _look_up(self, queries: Sequence[Query]) -> _Plan:
        plan = _Plan()
        hits = 0
        for position, query in enumerate(queries):
            if query.kind is Kind.COMPLETION:
                key = position.to_bytes(4)  # no key of another: those are longer
                plan.passing.add(key)
            else:
                key = self._key(query)
            plan.keys.append(key)
            if key not in plan.passing and (verdict := self._keeping.recall(key)) is not None:
                plan.found[key] = verdict
                hits += 1
            else:
                plan.wanted[key] = query
        misses = len(plan.wanted) - len(plan.passing)
        self._tell("hit", hits)
        self._tell("joined", len(queries) - len(plan.passing) - hits - misses)
        self._tell("miss", misses)
        return plan

    def _fill(self, plan: _Plan, answers: Sequence[Verdict]) -> list[Verdict]:
        told = dict(zip(plan.wanted, answers, strict=True))
        self._keeping.remember(
            {
                key: verdict
                for key, verdict in told.items()
                if key not in plan.passing and self._worth_keeping(verdict, plan.wanted[key])
            }
        )
        found = plan.found | told
        return [found[key] for key in plan.keys]
