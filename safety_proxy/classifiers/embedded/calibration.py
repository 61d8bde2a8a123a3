"""From scores to severities: cut-offs by false positives on benign text, probabilities by a logistic curve.

Labels of 0 alone do not make a text benign (a post that is "not sexist" may hate in another way), so the cut-offs look
at *benign* rows only: rows of sources without a single positive row. For the two attacks the negative rows of sources
that do hold such attacks are added, as these are what they are confused with.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import numpy as np
import numpy.typing as npt

from safety_proxy.classifiers.embedded.model import HEADS, Floats, Model
from safety_proxy.classifiers.embedded.rows import Row, labels, stream_windows

FALSE_POSITIVES: Final = {"low": 0.03, "medium": 0.005, "high": 0.0005, "medium_in_streams": 0.0005}
"""Share of benign texts that may reach levels 2, 4, 6; and of benign stream windows that may reach level 4."""
LONG: Final = 600
"""Characters from which on a text counts as one that streams in several windows."""
ATTACKS: Final = ("jailbreak", "indirect_attack")
_NEWTON_STEPS: Final = 50
_RIDGE: Final = 1e-3
_LEAST_STEP: Final = 0.05
"""Smallest distance between the cuts of levels 2 and 4, for rows too few to tell them apart."""
_HIGH_STEP: Final = 3
"""Level 6 begins at least a third of that distance above level 4: the tail of a few thousand benign rows is thin."""


def calibrate(model: Model, rows: Sequence[Row], benign: frozenset[str]) -> Model:
    """*model* with the calibration and the cut-offs that fit the development *rows*; *benign* names sources."""
    scores = np.array([model.scores(row.text) for row in rows]).reshape(len(rows), len(HEADS))
    windows = np.array(
        [
            model.scores(text, open_left=left, open_right=right)
            for row in rows
            if row.source in benign and len(row.text) >= LONG
            for text, left, right in stream_windows(row.text)
        ]
    ).reshape(-1, len(HEADS))
    cuts, curves = [], []
    for column, head in enumerate(HEADS):
        known = labels(rows, head)
        pool = scores[_negatives(rows, known, head, benign), column]
        in_streams = windows[:0, column] if head in ATTACKS else windows[:, column]
        cuts.append(_cuts(pool, in_streams))
        curves.append(_logistic(scores[known >= 0, column], known[known >= 0]))
    return replace(model, cuts=np.array(cuts, np.float32), calibration=np.array(curves, np.float32))


def _negatives(rows: Sequence[Row], known: npt.NDArray[np.int8], head: str, benign: frozenset[str]) -> npt.NDArray[np.bool_]:
    confused = {row.source for row, label in zip(rows, known, strict=True) if label == 1 and head in ATTACKS}
    return np.array([label == 0 and row.source in benign | confused for row, label in zip(rows, known, strict=True)])


def _cuts(pool: Floats, windows: Floats) -> list[float]:
    """The scores from which levels 2, 4 and 6 are given."""
    low = _cut(pool, FALSE_POSITIVES["low"]) if len(pool) else 0.0
    medium = max(_cut(pool, FALSE_POSITIVES["medium"]), _cut(windows, FALSE_POSITIVES["medium_in_streams"]))
    medium = max(medium, low + _LEAST_STEP)
    return [low, medium, max(_cut(pool, FALSE_POSITIVES["high"]), medium + (medium - low) / _HIGH_STEP)]


def _cut(scores: Floats, share: float) -> float:
    """The lowest score that at most *share* of *scores* reach."""
    if not len(scores):
        return -math.inf
    allowed = int(share * len(scores))
    return float(np.nextafter(np.float32(np.sort(scores)[-allowed - 1]), np.float32(np.inf)))


def _logistic(scores: Floats, wanted: npt.NDArray[np.int8]) -> tuple[float, float]:
    """Slope and offset of the logistic curve of greatest likelihood (Platt scaling), lightly regularised."""
    design = np.stack([scores, np.ones(len(scores))], axis=1)
    curve = np.array([1.0, 0.0])
    for _ in range(_NEWTON_STEPS):
        expected = 1 / (1 + np.exp(-np.clip(design @ curve, -50, 50)))
        gradient = design.T @ (wanted - expected) + _RIDGE * (np.array([1.0, 0.0]) - curve)
        curvature = (design * (expected * (1 - expected))[:, None]).T @ design + _RIDGE * np.eye(2)
        step = np.linalg.solve(curvature, gradient)
        curve = curve + step
        if np.abs(step).max() < 1e-9:  # noqa: PLR2004 - as good as no step
            break
    return float(curve[0]), float(curve[1])
