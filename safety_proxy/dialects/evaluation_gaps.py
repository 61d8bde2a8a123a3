"""What an evaluation did not look at, and why: the entries of ``not_evaluated``.

Each names its ``stage`` and ``what`` was not evaluated:

``field``
    A field of the request that passed unread: ``role`` (the policy leaves out its texts), ``unreadable`` (nobody can read
    it, and the policy allows that). In a completion a channel of a ``choice``, from ``start`` to ``end`` in characters:
    ``ended`` (the choice had ended before; a classifier that takes its time may have judged some of that text all the same).
``category``
    ``off`` (the policy has no rule for it), ``not_applicable`` (it has, but there was no text of the kind that is judged for
    it), or why there was no verdict on some text: `safety_proxy.errors.ClassifierError` has the reasons.
``classifier``
    ``spared`` (others had settled some text), ``not_applicable`` (it was asked about nothing), or why it failed on some
    text.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

from safety_proxy.dialects.evaluation_texts import Judged, heard
from safety_proxy.errors import ClassifierError
from safety_proxy.events import Chunk
from safety_proxy.model import Category, JSONObject, Kind, PromptText
from safety_proxy.policy import InputRules, Rules
from safety_proxy.rule import applies

_KINDS: Final[Mapping[str, frozenset[Kind]]] = {
    "input": frozenset(Kind) - {Kind.COMPLETION},
    "output": frozenset({Kind.COMPLETION}),
}
"""What there may be on each side."""


def missed_fields(
    rules: Sequence[InputRules], skipped: Iterable[PromptText], unreadable: Iterable[str]
) -> Iterator[JSONObject]:
    """Fields of a prompt: texts that were *skipped*, and those that were *unreadable*."""
    reasons = dict.fromkeys(unreadable, "unreadable")
    for text in skipped:
        left_out = all(each.of(text) is None for each in rules)
        reasons.setdefault(text.field, "role" if left_out else "unreadable")
    for field, reason in reasons.items():
        yield _gap("input", "field", field, reason)


def missed_text(choice: int, said: Chunk, judged: Iterable[Judged]) -> Iterator[JSONObject]:
    """The text of a choice that stands in no window that was judged."""
    lengths: dict[str, int] = {}
    for segment in said.segments:
        lengths[segment.channel] = lengths.get(segment.channel, 0) + len(segment.text)
    seen: dict[str, list[tuple[int, int]]] = {}
    for each in judged:
        if each.query.offset is not None:
            window = (each.query.offset, each.query.offset + len(each.query.text))
            seen.setdefault(each.query.channel, []).append(window)
    for channel, length in lengths.items():
        for start, end in _between(seen.get(channel, ()), length):
            yield {**_gap("output", "field", channel, "ended"), "choice": choice, "start": start, "end": end}


def _between(windows: Iterable[tuple[int, int]], length: int) -> Iterator[tuple[int, int]]:
    """The ranges up to *length* that no window covers."""
    covered = 0
    for start, end in (*sorted(windows), (length, length)):
        if start > covered:
            yield covered, start
        covered = max(covered, end)


def missed_rules(stage: str, rules: Sequence[Rules], judged: Sequence[Judged]) -> Iterator[JSONObject]:
    """Categories without a rule, without a text, or without a verdict."""
    for category in Category:
        written = [rule for each in rules if (rule := each.categories.get(category)) is not None]
        texts = [each for each in judged if applies(category, each.query.kind)]
        if not written:
            reasons = {"off"} if any(applies(category, kind) for kind in _KINDS[stage]) else set()
        elif not texts:
            reasons = {"not_applicable"}
        else:
            said = (rule.judge(heard(each)) for rule in written for each in texts)
            reasons = {reason for _, reason in said if reason is not None}
        for reason in sorted(reasons):
            yield _gap(stage, "category", category.value, reason)


def missed_classifiers(stage: str, rules: Sequence[Rules], judged: Sequence[Judged]) -> Iterator[JSONObject]:
    """Classifiers that failed, were spared, or were not asked at all."""
    reasons: dict[str, set[str]] = {name: set() for each in rules for name in each.classifiers}
    asked: set[str] = set()
    for each in judged:
        for name, outcome in heard(each).items():
            asked.add(name)
            if isinstance(outcome, ClassifierError):
                reasons.setdefault(name, set()).add(outcome.reason)
        for name in sorted(each.unasked):
            reasons.setdefault(name, set()).add("spared")
    for name, why in reasons.items():
        for reason in sorted(why) if name in asked or why else ["not_applicable"]:
            yield _gap(stage, "classifier", name, reason)


def _gap(stage: str, what: str, name: str, reason: str) -> JSONObject:
    return {"stage": stage, "what": what, "name": name, "reason": reason}
