"""How well a severity, or a score, tells what must be filtered, on cases of which that is known. Pure.

Arrays of equal length: *values* (severities 0-7, detections 0-1, or scores 0-1), *wanted* (bool: it must be filtered) and
*benign* (bool: nothing about it may be filtered; never true where *wanted* is). What there is nothing to measure on is None.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt

from safety_proxy.harness.intervals import Estimate, Scores, proportion, scores
from safety_proxy.harness.summary import Confusion
from safety_proxy.model import Severity

THRESHOLDS: Final = (1, 2, 3, 4, 5, 6, 7)
"""Severities that a harm may be filtered from."""
WRITABLE: Final = (int(Severity.LOW), int(Severity.MEDIUM), int(Severity.HIGH))
"""Those that a policy has a word for (``block_at``)."""
FOUND: Final = 1
"""The one threshold of a category that is found or not found."""

Values: TypeAlias = "npt.NDArray[np.float64]"
Flags: TypeAlias = "npt.NDArray[np.bool_]"


@dataclass(frozen=True, slots=True)
class Row:
    """What filtering from one threshold on comes to."""

    threshold: int
    """The lowest severity (1-7) that is filtered; 1 of a detection."""
    confusion: Confusion
    scores: Scores
    overblocking: Estimate
    """The share of benign cases that are filtered."""
    benign: int
    """How many of those there are."""


@dataclass(frozen=True, slots=True)
class Curve:
    """Precision against recall, a point for each value that occurs, from the lowest on; and (1, 0) at the end."""

    precision: Values
    recall: Values
    thresholds: Values
    """Filtering from this value on leads to the point of the same index; the last point has none."""


def row(values: Values, wanted: Flags, benign: Flags, threshold: int) -> Row:
    """The figures of filtering all *values* from *threshold* on."""
    found = values >= threshold
    confusion = Confusion(
        true_positives=int((found & wanted).sum()),
        false_positives=int((found & ~wanted).sum()),
        false_negatives=int((~found & wanted).sum()),
        true_negatives=int((~found & ~wanted).sum()),
    )
    total = int(benign.sum())
    return Row(threshold, confusion, scores(confusion), proportion(int((found & benign).sum()), total), total)


def rows(values: Values, wanted: Flags, benign: Flags, thresholds: Iterable[int]) -> tuple[Row, ...]:
    """`row` for each of *thresholds*."""
    return tuple(row(values, wanted, benign, threshold) for threshold in thresholds)


def curve(values: Values, wanted: Flags) -> Curve | None:
    """The curve that scikit-learn's ``precision_recall_curve`` gives. None if nothing is *wanted*: recall is undefined."""
    if not wanted.any():
        return None
    order = np.argsort(-values, kind="stable")
    ranked = values[order]
    ends = np.append(np.flatnonzero(np.diff(ranked)), len(ranked) - 1)  # equal values are filtered together
    hits = np.cumsum(wanted[order])[ends]
    return Curve(
        precision=np.append((hits / (ends + 1))[::-1], 1.0),
        recall=np.append((hits / hits[-1])[::-1], 0.0),
        thresholds=ranked[ends][::-1],
    )


def average_precision(of: Curve | None) -> float | None:
    """Area under the curve, by steps (AUPRC): scikit-learn's ``average_precision_score``."""
    return None if of is None else float(-(np.diff(of.recall) * of.precision[:-1]).sum())


def suggested(among: Sequence[Row], target: float) -> Row | None:
    """The strictest of some rows, that with the lowest threshold, that filters at most *target* (0-1) of the benign cases.

    None if there is none, or no benign case.
    """
    fitting = [each for each in among if each.overblocking.value is not None and each.overblocking.value <= target]
    return min(fitting, key=lambda each: each.threshold, default=None)
