"""The classifier that ships with the package: hashed n-grams and a small network, numpy only."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from safety_proxy.classifiers.embedded.explain import spans
from safety_proxy.classifiers.embedded.model import FORMAT, HARM_HEADS, HEADS, Model, overall
from safety_proxy.model import HARMS, Category, Kind, Query, Severity, Verdict

INLINE: Final = 10_000
"""Characters that are judged in place (less than 10 ms); more go to a thread, so that the event loop stays free."""

OVERALL: Final = "unsafe"
"""Name of the score that tells of any harm."""

_COLUMNS: Final = {name: column for column, name in enumerate(HEADS)}
_HARM_COLUMNS: Final = {
    harm: tuple(_COLUMNS[name] for name in ((harm.value, "harassment") if harm is Category.HATE else (harm.value,)))
    for harm in sorted(HARMS)
}
"""The heads behind each harm; the most severe one counts."""
_ATTACKS: Final = {Kind.USER_PROMPT: Category.JAILBREAK, Kind.DOCUMENT: Category.INDIRECT_ATTACK}


class EmbeddedClassifier:
    """A `safety_proxy.classifiers.base.LocalClassifier` over a `Model`; without one, over the model that ships.

    Holds no state but the weights, so a verdict depends on its query alone. English only in effect; see
    ``docs/model-card.md`` for what it was trained on and where it fails.
    """

    limit: int | None = None
    overlap: int = 0
    reads_images = False
    reads_conversation = False

    def __init__(self, name: str = "embedded", model: Model | None = None) -> None:
        self.name = name
        self.model = Model.load() if model is None else model
        self.identity = f"embedded format={FORMAT} model={self.model.digest[:16]}"

    def reports(self, kind: Kind) -> frozenset[Category]:
        """The four harms; also jailbreaks in user prompts and indirect attacks in documents."""
        return HARMS | {_ATTACKS[kind]} if kind in _ATTACKS else HARMS

    def classify_now(self, queries: Sequence[Query], /) -> list[Verdict]:
        """One verdict without spans for each query, in order. Never raises; the time is linear in the characters."""
        return [self._judge(query)[0] for query in queries]

    async def classify(self, queries: Sequence[Query], /) -> list[Verdict]:
        """As `classify_now`; more than `INLINE` characters in total are judged in a thread."""
        if sum(len(query.text) for query in queries) > INLINE:
            return await asyncio.to_thread(self.classify_now, queries)
        return self.classify_now(queries)

    def explain(self, query: Query) -> Verdict:
        """The verdict on *query* with the spans that weighed most for what was found: at most five, heaviest first.

        A span is a run of words; its weight is in units of the score. Harms count from severity low on.
        """
        verdict, levels = self._judge(query)
        heads = {
            harm.value: max(_HARM_COLUMNS[harm], key=levels.__getitem__)
            for harm, severity in verdict.severities.items()
            if severity >= Severity.LOW
        }
        heads |= {attack.value: _COLUMNS[attack.value] for attack, found in verdict.detections.items() if found}
        return replace(verdict, spans=spans(self.model, query.text, heads))

    async def close(self) -> None:
        """Nothing is held open."""

    def _judge(self, query: Query) -> tuple[Verdict, list[int]]:
        """The verdict, and the level of each head."""
        scores = self.model.scores(query.text, open_left=query.open_left, open_right=query.open_right)
        levels = self.model.levels(scores, window=query.open_left or query.open_right)
        probabilities = self.model.probabilities(scores)
        severities = {harm: max(levels[column] for column in heads) for harm, heads in _HARM_COLUMNS.items()}
        attack = _ATTACKS.get(query.kind)
        told = {name: float(probabilities[column]) for name, column in _COLUMNS.items() if column < HARM_HEADS}
        told[OVERALL] = overall(probabilities)
        if attack is None:
            return Verdict(severities, scores=told), levels
        column = _COLUMNS[attack.value]
        told[attack.value] = float(probabilities[column])
        return Verdict(severities, {attack: levels[column] >= Severity.MEDIUM}, scores=told), levels
