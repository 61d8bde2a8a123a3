"""What a classifier is, and the two things that all of them share: long texts are split, parts are merged."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Protocol, runtime_checkable

from safety_proxy.model import Category, Kind, Query, Span, Verdict


class Classifier(Protocol):
    """Gives a verdict for each text. Implementations hold no state that a verdict depends on."""

    name: str
    """Its name in the configuration."""
    identity: str
    """Type, model and options in one line: equal identities give equal verdicts. Contains no secret."""
    limit: int | None
    """Longest text it takes at once, in characters (code points); longer ones come through `split`. None: any."""
    overlap: int
    """Characters that two neighbouring parts of a split text share."""
    reads_images: bool
    """Whether it judges the images of a query. Who does not is never asked about a query that has any."""

    def reports(self, kind: Kind, /) -> frozenset[Category]:
        """The categories that every verdict on a text of this *kind* tells of."""

    async def classify(self, queries: Sequence[Query], /) -> Sequence[Verdict]:
        """One verdict for each query, in order. Raises `ClassifierError` and nothing else."""

    async def close(self) -> None:
        """Let go of connections."""


@runtime_checkable
class LocalClassifier(Classifier, Protocol):
    """A classifier that needs no network and answers at once: it may be asked without a task of its own."""

    def classify_now(self, queries: Sequence[Query], /) -> Sequence[Verdict]:
        """As `classify`, without waiting."""


def split(query: Query, limit: int | None, overlap: int) -> list[Query]:
    """Cut *query* into parts of at most *limit* characters; neighbours share *overlap* characters.

    The inner edges are marked open, so that a word cut in two is judged in the part that holds it whole.
    """
    text = query.text
    if limit is None or len(text) <= limit:
        return [query]
    parts = []
    start = 0
    while True:
        end = min(start + limit, len(text))
        parts.append(
            replace(
                query,
                text=text[start:end],
                open_left=query.open_left or start > 0,
                open_right=query.open_right or end < len(text),
            )
        )
        if end == len(text):
            return parts
        start = end - overlap


def merge(verdicts: Sequence[Verdict], offsets: Iterable[int] = ()) -> Verdict:
    """The most severe of several verdicts on parts of one text.

    A category that one part was not judged for becomes a failure of the whole, beside what the other parts say: harm
    beats failure, and failure beats safe. A blocklist was searched if it was in every part, or if it matched in one.
    *offsets* are the positions of the parts in the text; spans are moved by them.
    """
    if len(verdicts) == 1:
        return verdicts[0]
    severities: dict[Category, int] = {}
    detections: dict[Category, bool] = {}
    lists: dict[str, bool] = {}
    failures: dict[Category, str] = {}
    scores: dict[str, float] = {}
    for verdict in verdicts:
        severities |= {c: max(s, severities.get(c, s)) for c, s in verdict.severities.items()}
        detections |= {c: d or detections.get(c, False) for c, d in verdict.detections.items()}
        lists |= {n: m or lists.get(n, False) for n, m in verdict.blocklists.items()}
        failures = {**verdict.failures, **failures}
        scores |= {n: max(s, scores.get(n, s)) for n, s in verdict.scores.items()}
    for verdict in verdicts:
        silent = {c for c in (*severities, *detections) if not verdict.reports(c)}
        failures = {**dict.fromkeys(silent, "missing_category"), **failures}
    searched = {n: m for n, m in lists.items() if m or all(n in verdict.blocklists for verdict in verdicts)}
    spans = [
        Span(span.start + offset, span.end + offset, span.label, span.weight)
        for verdict, offset in zip(verdicts, list(offsets) or [0] * len(verdicts), strict=True)
        for span in verdict.spans
    ]
    return Verdict(severities, detections, searched, tuple(spans), failures, scores)
