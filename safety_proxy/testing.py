"""Stand-ins for tests, ours and yours: a classifier that follows a script, a judge that knows phrases, a filter's driver.

A phrase counts as found by the rule that every classifier keeps: not where it touches an edge of the text beyond which the
text goes on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from random import Random

from safety_proxy.errors import ClassifierError
from safety_proxy.events import Classify, Effect, End, Finish, Item, Release, StopReading
from safety_proxy.model import HARMS, Category, Decision, Kind, Query, Span, Verdict
from safety_proxy.stream import StreamFilter

__all__ = ["ScriptedClassifier", "drive", "occurs"]


def occurs(phrase: str, query: Query) -> tuple[int, int] | None:
    """Where *phrase* counts as found in *query*, as a half-open range of characters."""
    start = query.text.find(phrase)
    while start >= 0:
        end = start + len(phrase)
        if not (query.open_left and start == 0) and not (query.open_right and end == len(query.text)):
            return start, end
        start = query.text.find(phrase, start + 1)
    return None


class ScriptedClassifier:
    """A classifier that finds what it is told to find.

    *severities* and *detections* map phrases to what their occurrence means; *errors* maps phrases to the reason of a
    `ClassifierError`. With a *gate*, no verdict is given before it is set. All that was asked is kept in `asked`.
    """

    limit: int | None = None
    overlap: int = 0

    def __init__(
        self,
        severities: Mapping[str, tuple[Category, int]] | None = None,
        *,
        detections: Mapping[str, Category] | None = None,
        errors: Mapping[str, str] | None = None,
        gate: asyncio.Event | None = None,
        name: str = "scripted",
    ) -> None:
        self.name = self.identity = name
        self.asked: list[Query] = []
        self.closed = False
        self._severities = dict(severities or {})
        self._detections = dict(detections or {})
        self._errors = dict(errors or {})
        self._gate = gate

    def reports(self, _kind: Kind, /) -> frozenset[Category]:
        """Everything there is."""
        return frozenset(Category)

    async def classify(self, queries: Sequence[Query], /) -> Sequence[Verdict]:
        """By the script."""
        if self._gate is not None:
            await self._gate.wait()
        self.asked += queries
        return [self._verdict(query) for query in queries]

    async def close(self) -> None:
        """Remember that it was closed."""
        self.closed = True

    def _verdict(self, query: Query) -> Verdict:
        for phrase, reason in self._errors.items():
            if phrase in query.text:
                raise ClassifierError(reason)
        severities = dict.fromkeys(HARMS, 0)
        detections = dict.fromkeys(Category, False)
        spans = []
        for phrase, (category, severity) in self._severities.items():
            if found := occurs(phrase, query):
                severities[category] = max(severities[category], severity)
                spans.append(Span(*found, category))
        for phrase, category in self._detections.items():
            if found := occurs(phrase, query):
                detections[category] = True
                spans.append(Span(*found, category))
        return Verdict(severities, {c: d for c, d in detections.items() if c not in HARMS}, spans=tuple(spans))


def drive(
    stream_filter: StreamFilter,
    reads: Sequence[Sequence[Item]],
    judge: Callable[[Sequence[Query]], Decision],
    *,
    random: Random | None = None,
    seen: Callable[[Effect], None] | None = None,
) -> list[Release | Finish | End]:
    """Run a filter to its end without an event loop; return what the client is shown.

    *reads* are what the backend brings, one read at a time, as long as the filter wants more. With *random*, decisions
    come late and in any order; without, each at once. *seen* is told every effect.
    """
    shown: list[Release | Finish | End] = []
    pending: list[Classify] = []
    waiting = list(reads)
    while not stream_filter.done:
        read_next = bool(waiting) and stream_filter.wants_more and (not pending or random is None or random.getrandbits(1) == 1)
        if read_next:
            effects = stream_filter.feed(waiting.pop(0))
        elif pending:
            asked = pending.pop(random.randrange(len(pending)) if random is not None else 0)
            effects = stream_filter.decide(asked.window, judge(asked.queries))
        else:
            raise AssertionError("the filter waits for nothing and is not done")
        for effect in effects:
            if seen is not None:
                seen(effect)
            if isinstance(effect, Classify):
                pending.append(effect)
            elif not isinstance(effect, StopReading):
                shown.append(effect)
    return shown
