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

FALSE_POSITIVES: Final = {
    "harm": {"low": 0.02, "medium": 0.002, "high": 0.0002},
    "harm in a window": {"low": 0.003, "medium": 0.0003, "high": 0.00003},
    "attack": {"low": 0.05, "medium": 0.01, "high": 0.001},
}
"""Share of benign texts, of windows of benign streams, and of texts without an attack, in which one head may reach
levels 2, 4, 6."""
LONG: Final = 300
"""Characters from which on a text counts as one that streams in several windows."""
TAIL: Final = 0.02
"""Share of the scores taken for the tail: beyond what can be counted it is continued as an exponential one."""
COUNTED: Final = 10
"""Scores that must lie above a cut for it to be counted and not continued."""
ATTACKS: Final = ("jailbreak", "indirect_attack")
_NEWTON_STEPS: Final = 50
_RIDGE: Final = 1e-3
_LEAST_STEP: Final = 0.05
"""Smallest distance between two cuts, for rows too few to tell them apart."""


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
    of_texts, of_windows, curves = [], [], []
    for column, head in enumerate(HEADS):
        known = labels(rows, head)
        pool = scores[_negatives(rows, known, head, benign), column]
        of_texts.append(cuts(pool, FALSE_POSITIVES["attack" if head in ATTACKS else "harm"]))
        # Attacks are looked for in prompts and documents, which do not stream.
        of_windows.append(of_texts[-1] if head in ATTACKS else cuts(windows[:, column], FALSE_POSITIVES["harm in a window"]))
        curves.append(_logistic(scores[known >= 0, column], known[known >= 0]))
    return replace(model, cuts=np.array([of_texts, of_windows], np.float32), calibration=np.array(curves, np.float32))


def _negatives(rows: Sequence[Row], known: npt.NDArray[np.int8], head: str, benign: frozenset[str]) -> npt.NDArray[np.bool_]:
    confused = {row.source for row, label in zip(rows, known, strict=True) if label == 1 and head in ATTACKS}
    return np.array([label == 0 and row.source in benign | confused for row, label in zip(rows, known, strict=True)])


def cuts(scores: Floats, shares: dict[str, float]) -> list[float]:
    """The scores from which levels 2, 4 and 6 are given, when *scores* are those of benign text."""
    low = _cut(scores, shares["low"])
    medium = max(_cut(scores, shares["medium"]), low + _LEAST_STEP)
    return [low, medium, max(_cut(scores, shares["high"]), medium + _LEAST_STEP)]


def _cut(scores: Floats, share: float) -> float:
    """The score that *share* of texts like those of *scores* would reach."""
    if not len(scores):
        return 0.0
    ordered = np.sort(scores)
    above = int(share * len(ordered))
    if above >= COUNTED:
        return float(np.nextafter(np.float32(ordered[-above - 1]), np.float32(np.inf)))
    tail = max(int(TAIL * len(ordered)), 1)
    least = float(ordered[-tail - 1]) if len(ordered) > tail else float(ordered[0])
    return least + float(np.mean(ordered[-tail:] - least)) * max(math.log(TAIL / share), 0.0)


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
