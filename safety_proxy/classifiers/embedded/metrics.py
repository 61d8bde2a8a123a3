"""Figures of a ranking: labels (1 or 0) against scores, without scikit-learn, so that evaluation needs no extra."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import numpy.typing as npt

Floats: TypeAlias = "npt.NDArray[np.float64]"
Labels: TypeAlias = "npt.NDArray[np.int8]"


def average_precision(wanted: Labels, scores: Floats) -> float:
    """Area under the precision-recall curve, by steps; equal scores count as one step. NaN without a positive."""
    if not (wanted == 1).any():
        return float("nan")
    order = np.argsort(-scores, kind="stable")
    hits = np.cumsum(wanted[order] == 1)
    steps = np.append(np.flatnonzero(np.diff(scores[order])), len(order) - 1)
    recall = np.concatenate([[0.0], hits[steps] / hits[-1]])
    return float((np.diff(recall) * hits[steps] / (steps + 1)).sum())


def _ranks(values: Floats) -> Floats:
    """Ranks from 1 on; equal values share the mean of theirs."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    return np.asarray((ends - (counts - 1) / 2)[inverse])


def roc_auc(wanted: Labels, scores: Floats) -> float:
    """The chance that a positive row scores above a negative one. NaN if either is missing."""
    positives = int((wanted == 1).sum())
    negatives = len(wanted) - positives
    if not positives or not negatives:
        return float("nan")
    return float((_ranks(scores)[wanted == 1].sum() - positives * (positives + 1) / 2) / (positives * negatives))


def rank_correlation(left: Floats, right: Floats) -> float:
    """Spearman's rank correlation. NaN if either side is constant."""
    if len(left) < 2 or len(np.unique(left)) < 2 or len(np.unique(right)) < 2:  # noqa: PLR2004 - nothing to correlate
        return float("nan")
    return float(np.corrcoef(_ranks(left), _ranks(right))[0, 1])


def recall_at(wanted: Labels, scores: Floats, share: float) -> float:
    """Share of positive rows above the score that *share* of the negative rows reach."""
    if not (wanted == 1).any() or not (wanted == 0).any():
        return float("nan")
    return float((scores[wanted == 1] > np.quantile(scores[wanted == 0], 1 - share, method="higher")).mean())


def calibration_error(wanted: Labels, probabilities: Floats, bins: int = 10) -> float:
    """Expected calibration error: distance between what was said and what came true, mean over bins by their rows."""
    if not len(wanted):
        return float("nan")
    places = np.minimum((probabilities * bins).astype(int), bins - 1)
    gaps = [abs(float((wanted[places == n] == 1).mean() - probabilities[places == n].mean())) for n in np.unique(places)]
    return float(np.average(gaps, weights=np.bincount(places)[np.unique(places)]))
