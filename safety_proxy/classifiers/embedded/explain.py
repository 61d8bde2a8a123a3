"""Which words of a text weighed most: for people who want to know why, not for streams."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

import numpy as np

from safety_proxy.classifiers.embedded.features import Piece, align
from safety_proxy.classifiers.embedded.model import Floats, Model
from safety_proxy.model import Span

MOST: Final = 5
"""Spans that are given."""


def spans(model: Model, text: str, heads: Mapping[str, int]) -> tuple[Span, ...]:
    """The runs of words in *text* that speak most for *heads* (label to column), heaviest first; positions of *text*.

    What an n-gram and what a piece of a word adds to the score is spread over its characters, the weight of a word is the
    sum over its characters, and neighbouring words that speak for the same head make one span.
    """
    if not heads:
        return ()
    prepared, pieces = align(text)
    found = [
        Span(first.start, last.end, label, weight)
        for label, column in heads.items()
        for first, last, weight in _runs(pieces, np.append(0.0, np.cumsum(model.contributions(prepared, column))))
    ]
    return tuple(sorted(found, key=lambda span: (-span.weight, span.start, span.label))[:MOST])


def _runs(pieces: list[Piece], running: Floats) -> Iterator[tuple[Piece, Piece, float]]:
    """Runs of neighbouring words with a positive weight: first word, last word, weight."""
    first: Piece | None = None
    last: Piece | None = None
    total = 0.0
    for piece in pieces:
        weight = float(running[piece.prepared_end] - running[piece.prepared_start])
        if weight > 0:
            first, last, total = first or piece, piece, total + weight
        elif first and last:
            yield first, last, total
            first, last, total = None, None, 0.0
    if first and last:
        yield first, last, total
