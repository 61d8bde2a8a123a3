"""Texts taken apart, verdicts put together. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from safety_proxy.model import Category, Query, Span, Verdict


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
    together = union(verdicts)
    failures = dict(together.failures)
    for verdict in verdicts:
        silent = {c for c in (*together.severities, *together.detections) if not verdict.reports(c)}
        failures = {**dict.fromkeys(silent, "missing_category"), **failures}
    searched = {n: m for n, m in together.blocklists.items() if m or all(n in each.blocklists for each in verdicts)}
    spans = [
        Span(span.start + offset, span.end + offset, span.label, span.weight)
        for verdict, offset in zip(verdicts, list(offsets) or [0] * len(verdicts), strict=True)
        for span in verdict.spans
    ]
    return replace(together, blocklists=searched, spans=tuple(spans), failures=failures)


def union(verdicts: Sequence[Verdict]) -> Verdict:
    """What several answers about one and the same text say together: on different matters, or on its images.

    Of two answers on one category the more severe counts; a failure stays one, whatever the others say.
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
    spans = tuple(span for verdict in verdicts for span in verdict.spans)
    return Verdict(severities, detections, lists, spans, failures, scores)
