"""How well something filters, and how sure one can be of that with so few cases: 95 % intervals."""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt
from typing import Final

from safety_proxy.harness.summary import Confusion

_Z: Final = 1.959963984540054
"""The 97.5th percentile of the normal distribution: 2.5 % are left out on either side."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A proportion that was measured on some cases, and the 95 % interval that it has on all that are like them."""

    value: float | None
    """0-1. None: there was nothing to measure it on, and the interval is everything."""
    low: float = 0.0
    high: float = 1.0

    @property
    def ends(self) -> tuple[float, float]:
        """The interval."""
        return self.low, self.high


@dataclass(frozen=True, slots=True)
class Scores:
    """What a `Confusion` comes to."""

    precision: Estimate
    """Of what was filtered, how much should have been."""
    recall: Estimate
    """Of what should have been filtered, how much was."""
    f1: Estimate
    """The harmonic mean of both."""


def wilson(successes: int, total: int) -> tuple[float, float]:
    """The 95 % score interval of *successes* among *total*, without a correction for continuity (Wilson 1927).

    It never leaves 0-1 and holds the proportion itself. Of nothing (0 of 0) it is everything.
    """
    if not 0 <= successes <= total:
        raise ValueError(f"{successes} of {total} is no proportion")
    if total == 0:
        return 0.0, 1.0
    share, weight = successes / total, _Z * _Z / total
    centre = (share + weight / 2) / (1 + weight)
    reach = _Z * sqrt(share * (1 - share) / total + weight / (4 * total)) / (1 + weight)
    # At the ends the interval begins exactly there; rounding would leave some 1e-17.
    return (0.0 if successes == 0 else centre - reach), (1.0 if successes == total else centre + reach)


def proportion(successes: int, total: int) -> Estimate:
    """*successes* among *total*, with Wilson's interval."""
    return Estimate(successes / total if total else None, *wilson(successes, total))


def precision(confusion: Confusion) -> Estimate:
    """Of what was filtered, how much should have been; nothing to measure if nothing was filtered."""
    return proportion(confusion.true_positives, confusion.true_positives + confusion.false_positives)


def recall(confusion: Confusion) -> Estimate:
    """Of what should have been filtered, how much was; nothing to measure if nothing should have been."""
    return proportion(confusion.true_positives, confusion.true_positives + confusion.false_negatives)


def f1(confusion: Confusion) -> Estimate:
    """The harmonic mean of precision and recall; nothing to measure if nothing was filtered and nothing should have been.

    Its interval is Wilson's "indirect" one (Lam, Gopal and Qian 2023, arXiv:2309.14621): J = TP / (TP + FP + FN) is a
    proportion of the cases that are no true negatives, F1 = 2 J / (1 + J) grows with it, and so the ends of Wilson's
    interval of J become those of the interval of F1.
    """
    hits = confusion.true_positives
    found = proportion(hits, hits + confusion.false_positives + confusion.false_negatives)
    return Estimate(None if found.value is None else _f1(found.value), _f1(found.low), _f1(found.high))


def _f1(shared: float) -> float:
    return 2 * shared / (1 + shared)


def scores(confusion: Confusion) -> Scores:
    """All three."""
    return Scores(precision(confusion), recall(confusion), f1(confusion))
