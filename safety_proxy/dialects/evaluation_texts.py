"""One text that was judged for an evaluation: its place, the decision, what each classifier said. Never its words.

``start`` and ``end`` are characters (code points) of the ``field`` of the request, or of the ``channel`` of the choice, and
so are those of spans. Both are null for what is not written there like this - a seam, a text without its escapes, the
strings of a field laid end to end - and then spans count in the text as it was judged.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from operator import itemgetter
from typing import Final, Protocol, TypeVar

from safety_proxy.errors import ClassifierError
from safety_proxy.model import JSON, Category, Decision, JSONObject, PromptText, Query, Verdict
from safety_proxy.rule import Outcome

_DIGITS: Final = 6
_Value = TypeVar("_Value")


class Judged(Protocol):
    """One text with all that was said of it: a `safety_proxy.moderation.Judged`."""

    @property
    def query(self) -> Query:
        """What was asked about."""

    @property
    def decision(self) -> Decision:
        """On this text alone."""

    @property
    def outcomes(self) -> Mapping[str, Outcome]:
        """What each classifier said, by name."""

    @property
    def unasked(self) -> frozenset[str]:
        """The classifiers that others spared in a cascade."""

    @property
    def text(self) -> PromptText | None:
        """The text of a prompt that it is; None for a part of a completion."""


def in_order(found: Mapping[Category, _Value]) -> list[tuple[Category, _Value]]:
    """What was found, in the order of the categories."""
    return [(category, found[category]) for category in Category if category in found]


def heard(judged: Judged) -> dict[str, Outcome]:
    """The classifiers that were asked, with what they said. Who does not read images is not asked about one."""
    return {name: said for name, said in judged.outcomes.items() if not judged.query.images or said != Verdict()}


def input_text(judged: Judged) -> JSONObject:
    """A text of a prompt."""
    text = judged.text
    place: JSONObject = {"field": text.field, "role": text.role} if text is not None else {"field": None, "role": None}
    return {**place, **_told(judged)}


def output_text(judged: Judged, choice: int) -> JSONObject:
    """A part of a completion; what stands in no channel has none: strings of fields that nobody knows."""
    return {"choice": choice, "channel": judged.query.channel or None, **_told(judged)}


def _told(judged: Judged) -> JSONObject:
    query = judged.query
    said = heard(judged)
    return {
        "start": query.offset,
        "end": None if query.offset is None else query.offset + len(query.text),
        "kind": query.kind.value,
        "decision": judged.decision.action.word,
        "spans": [*_spans(said, query.offset or 0)],
        "verdicts": {name: _outcome(outcome) for name, outcome in said.items()},
    }


def _spans(said: Mapping[str, Outcome], offset: int) -> list[JSONObject]:
    """Where something was found, from left to right."""
    found: list[tuple[int, JSONObject]] = []
    for name, outcome in said.items():
        for span in outcome.spans if isinstance(outcome, Verdict) else ():
            start, end = span.start + offset, span.end + offset
            told: JSONObject = {"start": start, "end": end, "label": str(span.label), "classifier": name}
            found.append((start, {**told, "weight": round(span.weight, _DIGITS)}))
    return [span for _, span in sorted(found, key=itemgetter(0))]


def _outcome(outcome: Outcome) -> JSONObject:
    if isinstance(outcome, ClassifierError):
        return {"error": outcome.reason}
    return {
        "severities": _by_category(outcome.severities, int),
        "detections": _by_category(outcome.detections, bool),
        "scores": {name: round(score, _DIGITS) for name, score in outcome.scores.items()},
        "blocklists": dict(outcome.blocklists),
        "failures": _by_category(outcome.failures, str),
    }


def _by_category(found: Mapping[Category, _Value], as_json: Callable[[_Value], JSON]) -> JSONObject:
    return {category.value: as_json(value) for category, value in in_order(found)}
