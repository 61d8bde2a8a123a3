"""A classifier for the tests of those that stand before one: what it says tells exactly what it was asked."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from safety_proxy.classifiers.base import Observer, State
from safety_proxy.errors import ClassifierError
from safety_proxy.model import Category, Kind, Query, Verdict

HATE, VIOLENCE, JAILBREAK = Category.HATE, Category.VIOLENCE, Category.JAILBREAK


def said_of(query: Query) -> Verdict:
    """A verdict that no other query gets."""
    return Verdict({VIOLENCE: len(query.text) % 8}, {JAILBREAK: False}, {repr(query) + str(query.images): True})


@dataclass(eq=False)
class Call:
    """One call of a `Judge`, which waits for `end` if the judge is slow."""

    queries: list[Query]
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    error: Exception | None = None
    cancelled: bool = False

    def end(self, error: Exception | None = None) -> None:
        if not self.ended.is_set():
            self.error = error
            self.ended.set()


@dataclass
class Judge:
    """Not local. If *slow*, its calls wait to be ended; else *error* is raised, or `say` answers."""

    name: str = "judge"
    identity: str = "judge model=1"
    limit: int | None = 1000
    overlap: int = 100
    reads_images: bool = True
    reads_conversation: bool = True
    slow: bool = False
    error: Exception | None = None
    say: Callable[[Query], Verdict] = said_of
    reported: frozenset[Category] = frozenset({VIOLENCE, JAILBREAK})
    calls: list[Call] = field(default_factory=list)
    closed: int = 0

    def reports(self, _kind: Kind, /) -> frozenset[Category]:
        return self.reported

    async def classify(self, queries: Sequence[Query], /) -> Sequence[Verdict]:
        call = Call(list(queries))
        self.calls.append(call)
        if not self.slow:
            call.end(self.error)
        try:
            await call.ended.wait()
        except asyncio.CancelledError:
            call.cancelled = True
            raise
        if call.error is not None:
            raise call.error
        return [self.say(query) for query in queries]

    async def close(self) -> None:
        self.closed += 1

    @property
    def asked(self) -> list[str]:
        """The texts, in order."""
        return [query.text for call in self.calls for query in call.queries]


class LocalJudge(Judge):
    """Local, and never slow."""

    def classify_now(self, queries: Sequence[Query], /) -> Sequence[Verdict]:
        self.calls.append(Call(list(queries)))
        if self.error is not None:
            raise self.error
        return [self.say(query) for query in queries]

    async def classify(self, queries: Sequence[Query], /) -> Sequence[Verdict]:
        return self.classify_now(queries)


class Told(Observer):
    """Counts."""

    def __init__(self) -> None:
        self.looked: Counter[tuple[str, str]] = Counter()
        self.holding: list[tuple[int, int]] = []
        self.fallen: list[tuple[str, str, int]] = []

    def classified(self, classifier: str, reason: str | None, seconds: float) -> None:
        raise AssertionError("told by whoever observes the classifier")

    def repeated(self, classifier: str, route: str, why: Literal["retry", "hedge"]) -> None:
        raise AssertionError("told by the frame")

    def breaker(self, classifier: str, route: str, state: State) -> None:
        raise AssertionError("told by the frame")

    def spared(self, classifier: str, texts: int) -> None:
        raise AssertionError("told by the cascade")

    def looked_up(self, classifier: str, result: Literal["hit", "joined", "miss"], texts: int) -> None:
        self.looked[classifier, result] += texts

    def stored(self, entries: int, size: int) -> None:
        self.holding.append((entries, size))

    def fell_back(self, classifier: str, fallback: str, texts: int) -> None:
        self.fallen.append((classifier, fallback, texts))


def prompt(text: str = "fine", **fields: object) -> Query:
    return Query(text, Kind.USER_PROMPT, **fields)  # type: ignore[arg-type]  # the fields, by name


async def settle() -> None:
    """Let everybody run who can."""
    for _ in range(20):
        await asyncio.sleep(0)


async def reason(judging: Callable[[Sequence[Query]], object], *queries: Query) -> str:
    try:
        await judging(queries)  # type: ignore[misc]  # a coroutine
    except ClassifierError as error:
        return error.reason
    raise AssertionError("no error")
