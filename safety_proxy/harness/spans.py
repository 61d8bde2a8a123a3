"""Where in a text something was found, for people who want to see it."""

from __future__ import annotations

from safety_proxy.engine import Engine
from safety_proxy.harness.outcome import FoundSpan
from safety_proxy.model import Action, Verdict
from safety_proxy.moderation import Judged


async def explained(engine: Engine, judged: Judged) -> Judged:
    """What was filtered, with the words that weighed most, where a classifier can tell."""
    return await engine.explain(judged) if judged.decision.action is Action.FILTER else judged


def found_spans(judged: Judged, field: str) -> list[FoundSpan]:
    """Where classifiers found something, in characters of *field*; nothing of what is not written there like this."""
    offset = judged.query.offset
    if offset is None:
        return []
    return [
        FoundSpan(field, span.start + offset, span.end + offset, str(span.label), name, span.weight)
        for name, said in judged.outcomes.items()
        if isinstance(said, Verdict)
        for span in said.spans
    ]
