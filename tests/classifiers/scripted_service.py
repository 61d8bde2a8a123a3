"""An adapter whose service is a script, and what the tests of the frame have to say about it. It wants virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Literal

import pytest

from safety_proxy.classifiers.base import Observer, State
from safety_proxy.classifiers.remote import Frame, RemoteClassifier
from safety_proxy.classifiers.service import Question, ServiceError
from safety_proxy.errors import ClassifierError
from safety_proxy.model import Category, Kind, Query, Verdict

HATE, VIOLENCE, JAILBREAK = Category.HATE, Category.VIOLENCE, Category.JAILBREAK
SECRET = "the words of a prompt"
Step = float | ServiceError | Exception | Sequence[Verdict]
"""What the service does at one try: nothing for so many seconds, fail, or say something odd."""


def again(reason: str = "server_error", pause: float | None = None) -> ServiceError:
    return ServiceError(reason, again=True, pause=pause)


@dataclass
class Service:
    """An adapter. Each try of a question takes the next step of its route's script, if there is one, then is answered."""

    steps: dict[str, list[Step]] = field(default_factory=dict)
    routes: tuple[str, ...] = ("harms", "attacks")
    seconds: float = 0.1
    """What an answer takes."""
    asked: list[tuple[float, str, str]] = field(default_factory=list)
    """When, by which route, about what."""
    under_way: int = 0
    most: int = 0
    called_off: int = 0
    closed: int = 0
    identity: str = "scripted"
    limit: int | None = 1000
    overlap: int = 10
    reads_images: bool = True
    reads_conversation: bool = True

    def reports(self, kind: Kind, /) -> frozenset[Category]:
        return frozenset({VIOLENCE, JAILBREAK}) if kind is Kind.USER_PROMPT else frozenset({VIOLENCE})

    def questions(self, queries: Sequence[Query], /) -> Sequence[Question]:
        found = []
        for position, query in enumerate(queries):
            for route in self.routes:
                category = VIOLENCE if route == "harms" else JAILBREAK
                if category in self.reports(query.kind):
                    found.append(Question(route, (position,), frozenset({category}), self._asking(route, query.text)))
        return found

    async def close(self) -> None:
        self.closed += 1

    def _asking(self, route: str, text: str) -> Callable[[], Awaitable[Sequence[Verdict]]]:
        async def ask() -> Sequence[Verdict]:
            self.asked.append((now(), route, text))
            self.under_way += 1
            self.most = max(self.most, self.under_way)
            try:
                return await self._answer(route, text)
            except asyncio.CancelledError:
                self.called_off += 1
                raise
            finally:
                self.under_way -= 1

        return ask

    async def _answer(self, route: str, text: str) -> Sequence[Verdict]:
        script = self.steps.get(route, [])
        step = script.pop(0) if script else self.seconds
        await asyncio.sleep(step if isinstance(step, float) else self.seconds)
        if isinstance(step, Exception):
            raise step
        if not isinstance(step, float):
            return step
        harmful = "harmful" in text
        return [Verdict({VIOLENCE: 6 * harmful}) if route == "harms" else Verdict(detections={JAILBREAK: harmful})]


class Ledger(Observer):
    """Keeps what a frame has to tell."""

    def __init__(self) -> None:
        self.told: list[tuple[str, ...]] = []

    def classified(self, classifier: str, reason: str | None, seconds: float) -> None:
        raise AssertionError("told by whoever calls the frame")

    def looked_up(self, classifier: str, result: Literal["hit", "joined", "miss"], texts: int) -> None:
        raise AssertionError("told by the cache")

    def stored(self, entries: int, size: int) -> None:
        raise AssertionError("told by the cache")

    def fell_back(self, classifier: str, fallback: str, texts: int) -> None:
        raise AssertionError("told by the fallback")

    def spared(self, classifier: str, texts: int) -> None:
        raise AssertionError("told by the cascade")

    def repeated(self, classifier: str, route: str, why: Literal["retry", "hedge"]) -> None:
        self.told.append((classifier, route, why))

    def breaker(self, classifier: str, route: str, state: State) -> None:
        self.told.append((classifier, route, state.value))


HARMS_ONLY = ("harms",)
HANG = 1e6


def now() -> float:
    return asyncio.get_running_loop().time()


def framed(
    service: Service, *, ledger: Observer | None = None, random: Random | None = None, **frame: object
) -> RemoteClassifier:
    options = {"timeout": 2.0, "retries": 0} | frame
    observer = ledger or Ledger()
    return RemoteClassifier("it", service, Frame(**options), observer=observer, random=random)  # type: ignore[arg-type]  # by name


def prompt(text: str = "fine") -> Query:
    return Query(text, Kind.USER_PROMPT)


def message(text: str = "fine") -> Query:
    return Query(text, Kind.MESSAGE)


async def reason(classifier: RemoteClassifier, query: Query) -> str:
    with pytest.raises(ClassifierError) as failed:
        await classifier.classify([query])
    return failed.value.reason


async def took(call: Awaitable[object]) -> float:
    begun = now()
    await asyncio.gather(call, return_exceptions=True)
    return now() - begun


async def outcome(classifier: RemoteClassifier, queries: Sequence[Query]) -> Sequence[Verdict] | ClassifierError:
    """What comes of a call, in which nothing else may happen."""
    try:
        return await classifier.classify(queries)
    except ClassifierError as error:
        return error
