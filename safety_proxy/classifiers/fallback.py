"""A classifier with a stand-in: what the one leaves undecided, the other is asked about."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, islice
from typing import TypeAlias

import structlog

from safety_proxy.classifiers.base import UNOBSERVED, Classifier, Observer, Remembering
from safety_proxy.errors import ClassifierError
from safety_proxy.model import Category, Kind, Query, Verdict
from safety_proxy.verdicts import merge, split

_Answer: TypeAlias = Sequence[Verdict] | ClassifierError

log = structlog.get_logger("safety_proxy.classifiers")


@dataclass(frozen=True, slots=True)
class _Case:
    """A query that *primary* left open."""

    position: int
    open: frozenset[Category]
    """What the fallback reports of it."""
    parts: list[Query]
    """The query as the fallback takes it."""


class WithFallback:
    """A `Classifier` that is *primary*, but for what stays undecided: of that, *fallback* gives the verdict, if it can.

    Only the categories in which the primary failed, and which the fallback reports, are filled in; others keep their
    failure. What the primary said of a part of a text stands: the more severe counts. Images are not shown to a fallback
    that does not read them, nor is it told of a conversation. If both fail, the reasons are the primary's.
    """

    def __init__(self, primary: Classifier, fallback: Classifier, observer: Observer = UNOBSERVED) -> None:
        self._primary, self._fallback, self._observer = primary, fallback, observer
        self.name, self.identity = primary.name, f"{primary.identity} or else {fallback.identity}"
        self.limit, self.overlap = primary.limit, primary.overlap
        self.reads_images, self.reads_conversation = primary.reads_images, primary.reads_conversation

    def reports(self, kind: Kind, /) -> frozenset[Category]:
        """As the primary."""
        return self._primary.reports(kind)

    def remembers(self, query: Query, /) -> bool:
        """As the primary, if it remembers anything. What the fallback remembers is of use only after a failure."""
        return isinstance(self._primary, Remembering) and self._primary.remembers(query)

    async def close(self) -> None:
        """Closes the primary. The fallback is a classifier of its own, closed by who made it."""
        await self._primary.close()

    async def classify(self, queries: Sequence[Query], /) -> Sequence[Verdict]:
        """One verdict for each query, in order. Raises the primary's `ClassifierError` if the fallback adds nothing."""
        answer = await _ask(self._primary, queries)
        verdicts = self._told(answer, queries)
        cases = list(self._cases(queries, verdicts))
        filled = False
        if cases:
            self._observer.fell_back(self.name, self._fallback.name, len(cases))
            standins = await _ask(self._fallback, [part for case in cases for part in case.parts])
            if not isinstance(standins, ClassifierError):
                for case, standin in zip(cases, self._merged(cases, standins), strict=True):
                    before = verdicts[case.position]
                    verdicts[case.position] = _fill(before, standin, case.open)
                    filled |= verdicts[case.position] is not before
        if isinstance(answer, ClassifierError) and not filled:
            raise answer
        return verdicts

    def _told(self, answer: _Answer, queries: Sequence[Query]) -> list[Verdict]:
        """The answer of the primary as verdicts, whatever it was."""
        if not isinstance(answer, ClassifierError):
            return list(answer)
        return [Verdict(failures=dict.fromkeys(sorted(self.reports(q.kind)), answer.reason)) for q in queries]

    def _cases(self, queries: Sequence[Query], verdicts: Sequence[Verdict]) -> Iterator[_Case]:
        fallback = self._fallback
        for position, (query, verdict) in enumerate(zip(queries, verdicts, strict=True)):
            undecided = verdict.failures.keys() & fallback.reports(query.kind)
            if undecided and (fallback.reads_images or not query.images):
                told = query if fallback.reads_conversation or not query.conversation else replace(query, conversation=())
                yield _Case(position, frozenset(undecided), split(told, fallback.limit, fallback.overlap))

    def _merged(self, cases: Iterable[_Case], standins: Iterable[Verdict]) -> Iterator[Verdict]:
        """What the fallback said of each case as a whole."""
        said = iter(standins)
        for case in cases:
            starts = accumulate((len(part.text) - self._fallback.overlap for part in case.parts[:-1]), initial=0)
            yield merge(list(islice(said, len(case.parts))), starts)


async def _ask(classifier: Classifier, queries: Sequence[Query]) -> _Answer:
    """The answer, or why there is none."""
    try:
        verdicts = await classifier.classify(queries)
    except ClassifierError as error:
        return error
    except Exception as error:  # noqa: BLE001 - a mistake in the one must not keep the other from being asked
        mistake = type(error)
    else:
        if len(verdicts) == len(queries):
            return verdicts
        mistake = ValueError
    log.error("classifier.broken", classifier=classifier.name, error=mistake.__name__)  # its words may quote a text
    return ClassifierError("internal")


def _fill(verdict: Verdict, standin: Verdict, undecided: frozenset[Category]) -> Verdict:
    """*verdict* with what *standin* says of the *undecided* categories; the same object if that is nothing."""
    severities = _filled(verdict.severities, standin.severities, undecided)
    detections = _filled(verdict.detections, standin.detections, undecided)
    told = {category for category in undecided if standin.reports(category)}
    if not told:
        return verdict
    decided = told - standin.failures.keys()
    return replace(
        verdict,
        severities=severities,
        detections={category: bool(found) for category, found in detections.items()},
        failures={category: reason for category, reason in verdict.failures.items() if category not in decided},
        spans=verdict.spans + tuple(span for span in standin.spans if span.label in told),
    )


def _filled(
    mine: Mapping[Category, int], other: Mapping[Category, int], undecided: frozenset[Category]
) -> dict[Category, int]:
    return {**mine, **{c: max(value, mine.get(c, value)) for c, value in other.items() if c in undecided}}
