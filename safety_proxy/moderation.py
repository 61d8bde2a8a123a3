"""Texts in, decisions out: asks the classifiers of a policy's side and lets the policy decide.

One verdict path for all uses: windows of a stream, whole answers, prompts, the harness. No `ClassifierError` leaves this
module; what a missing verdict means is decided in `safety_proxy.policy`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import structlog

from safety_proxy.classifiers.base import UNOBSERVED, Classifier, LocalClassifier, Observer
from safety_proxy.errors import ClassifierError
from safety_proxy.inquiry import Inquiry, Side
from safety_proxy.model import Decision, Kind, PromptText, Query, Turn
from safety_proxy.policy import decide, strictest
from safety_proxy.rule import Outcome

_AT_ONCE: Final = 20_000
"""More characters than this are not judged in place, so that other streams are not kept waiting."""

log = structlog.get_logger("safety_proxy.moderation")


@dataclass(frozen=True, slots=True)
class Background:
    """What is known of texts beside themselves."""

    conversation: tuple[Turn, ...] = ()
    """What was said before, for classifiers that judge a conversation."""
    tenant: str = ""
    """Whose they are: `Query.tenant`."""


NO_BACKGROUND: Final = Background()


@dataclass(frozen=True, slots=True)
class Judged:
    """One text with all that was said of it, for whoever wants to know more than the decision."""

    query: Query
    decision: Decision
    outcomes: Mapping[str, Outcome]
    """What each classifier said, by name."""
    unasked: frozenset[str] = frozenset()
    """The classifiers that others spared in a cascade."""
    text: PromptText | None = None
    """The text of a prompt that it is, or a seam of one. None for a part of a completion."""


class Moderator:
    """Judges texts by one or several sides on the same verdicts; the strictest decision holds.

    Several sides are those of the policy of a deployment and of the policy of the caller's key. *observer* hears of the
    calls that cascades spare.
    """

    def __init__(self, sides: Sequence[Side], *, observer: Observer = UNOBSERVED) -> None:
        self._sides, self._observer = tuple(sides), observer
        self._classifiers = list({id(c): c for side in sides for c in side.classifiers.values()}.values())
        self._local = [c for c in self._classifiers if isinstance(c, LocalClassifier)]

    def judge(
        self, queries: Sequence[Query], background: Background = NO_BACKGROUND
    ) -> Decision | Coroutine[None, None, Decision]:
        """The decision on texts taken together: at once if no classifier needs to be waited for, else a coroutine."""
        queries = _before(queries, background)
        if len(self._local) == len(self._classifiers) and sum(len(query.text) for query in queries) <= _AT_ONCE:
            inquiry = Inquiry(self._sides, queries)
            while wanted := inquiry.wanted():
                for classifier, positions in wanted:
                    inquiry.answer(classifier, positions, _ask_now(classifier, inquiry.parts(classifier, positions)))
            self._tell_of(inquiry)
            return self._decide_together(inquiry, queries)
        return self._judge_later(queries)

    async def _judge_later(self, queries: Sequence[Query]) -> Decision:
        inquiry = await self._inquire(queries)
        await self._ask_all(inquiry)
        return self._decide_together(inquiry, queries)

    async def examine(self, queries: Sequence[Query], background: Background = NO_BACKGROUND) -> list[Judged]:
        """As `judge`, text by text, with all that was said. The strictest of the decisions is what `judge` returns."""
        queries = _before(queries, background)
        inquiry = await self._inquire(queries)
        await self._ask_all(inquiry)
        return [
            self._judged(inquiry, position, strictest(self._decisions(inquiry, position, query.kind)))
            for position, query in enumerate(queries)
        ]

    async def _inquire(self, queries: Sequence[Query]) -> Inquiry:
        """An inquiry; finding the other readings of long texts must not hold up other streams."""
        if sum(len(query.text) for query in queries) <= _AT_ONCE:
            return Inquiry(self._sides, queries)
        return await asyncio.to_thread(Inquiry, self._sides, queries)

    async def _ask_all(self, inquiry: Inquiry) -> None:
        """Ask, round by round, until all is said."""
        while wanted := inquiry.wanted():
            async with asyncio.TaskGroup() as group:
                tasks = [
                    (classifier, positions, group.create_task(_ask(classifier, inquiry.parts(classifier, positions))))
                    for classifier, positions in wanted
                ]
            for classifier, positions, task in tasks:
                inquiry.answer(classifier, positions, task.result())
        self._tell_of(inquiry)

    def _tell_of(self, inquiry: Inquiry) -> None:
        for name, texts in inquiry.spared().items():
            self._observer.spared(name, texts)

    def _decide_together(self, inquiry: Inquiry, queries: Sequence[Query]) -> Decision:
        return strictest(
            decision for position, query in enumerate(queries) for decision in self._decisions(inquiry, position, query.kind)
        )

    def _decisions(self, inquiry: Inquiry, position: int, kind: Kind) -> Iterator[Decision]:
        """What each side makes of one text."""
        return (decide(side.rules, inquiry.outcomes(side, position), kind) for side in self._sides)

    def _judged(self, inquiry: Inquiry, position: int, decision: Decision, text: PromptText | None = None) -> Judged:
        """All that was said of one text."""
        query = inquiry.query(position)
        outcomes = {name: said for side in self._sides for name, said in inquiry.outcomes(side, position).items()}
        asked = frozenset[str]().union(*(side.everybody(query.kind) for side in self._sides))
        return Judged(query, decision, outcomes, asked - outcomes.keys(), text)


def _before(queries: Sequence[Query], background: Background) -> Sequence[Query]:
    """*queries* with what is known beside them."""
    if background is NO_BACKGROUND:
        return queries
    return [replace(query, conversation=background.conversation, tenant=background.tenant) for query in queries]


# ------------------------------------------------------------------------------------------------------ asking


async def _ask(classifier: Classifier, queries: Sequence[Query]) -> Sequence[Outcome]:
    try:
        return await classifier.classify(queries) if queries else ()
    except Exception as error:  # noqa: BLE001 - a classifier with a bug must not let text pass
        return _failed(classifier, queries, error)


def _ask_now(classifier: Classifier, queries: Sequence[Query]) -> Sequence[Outcome]:
    """As `_ask`, of a local classifier."""
    try:
        return classifier.classify_now(queries) if queries and isinstance(classifier, LocalClassifier) else ()
    except Exception as error:  # noqa: BLE001 - a classifier with a bug must not let text pass
        return _failed(classifier, queries, error)


def _failed(classifier: Classifier, queries: Sequence[Query], error: Exception) -> list[Outcome]:
    """A failure as the outcome on each query, narrowed to what the classifier would have reported."""
    if not isinstance(error, ClassifierError):
        log.error("classifier.broken", classifier=classifier.name, error=type(error).__name__)
        error = ClassifierError("internal")
    else:
        log.warning("classifier.failed", classifier=classifier.name, reason=error.reason)
    if error.categories is not None:
        return [error] * len(queries)
    return [ClassifierError(error.reason, categories=classifier.reports(query.kind)) for query in queries]
