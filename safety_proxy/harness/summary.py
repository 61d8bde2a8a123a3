"""What the outcomes of many cases come to: counted as they arrive, so that only what failed is kept."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from safety_proxy.harness.cases import ExpectedSide
from safety_proxy.harness.outcome import FoundSide, Outcome
from safety_proxy.model import Category

KEPT: Final = 1_000
"""Failed cases that a summary keeps; all are counted."""


@dataclass(slots=True)
class Confusion:
    """How often what should have been filtered was, and what should not."""

    true_positives: int = 0
    false_positives: int = 0
    false_negatives: int = 0
    true_negatives: int = 0

    def count(self, *, wanted: bool, found: bool) -> None:
        """One more."""
        match wanted, found:
            case True, True:
                self.true_positives += 1
            case True, False:
                self.false_negatives += 1
            case False, True:
                self.false_positives += 1
            case _:
                self.true_negatives += 1

    @property
    def total(self) -> int:
        """How many there are."""
        return self.true_positives + self.false_positives + self.false_negatives + self.true_negatives

    @property
    def precision(self) -> float | None:
        """Of what was filtered, the part that should have been. None: nothing was."""
        return _ratio(self.true_positives, self.true_positives + self.false_positives)

    @property
    def recall(self) -> float | None:
        """Of what should have been filtered, the part that was. None: nothing should have been."""
        return _ratio(self.true_positives, self.true_positives + self.false_negatives)

    @property
    def f1(self) -> float | None:
        """The harmonic mean of both. None: nothing was filtered, and nothing should have been."""
        return _ratio(2 * self.true_positives, 2 * self.true_positives + self.false_positives + self.false_negatives)


def _ratio(part: int, whole: int) -> float | None:
    return part / whole if whole else None


@dataclass(slots=True)
class Summary:
    """The outcomes of one policy."""

    policy: str
    """Its identity."""
    total: int = 0
    failed: int = 0
    failures: list[Outcome] = field(default_factory=list)
    """The first `KEPT` that failed, in the order of the cases."""
    decisions: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    """How often, by side, expected and found decision."""
    categories: defaultdict[tuple[str, Category], Confusion] = field(default_factory=lambda: defaultdict(Confusion))
    """By side and category, of the cases that say whether the category must be filtered (or detected)."""
    severities: defaultdict[tuple[str, Category], Counter[tuple[str, int]]] = field(
        default_factory=lambda: defaultdict(Counter)
    )
    """By side and category: how often a severity (0-7) was found in cases that expect a decision on that side."""
    seconds: float = 0.0
    """Time that the cases took, added up over the processes."""

    def add(self, outcome: Outcome) -> None:
        """One more."""
        self.total += 1
        self.seconds += outcome.seconds
        if not outcome.passed:
            self.failed += 1
            if len(self.failures) < KEPT:
                self.failures.append(outcome)
        for side, expected, found in _sides(outcome):
            self._count(side, expected, found)

    def _count(self, side: str, expected: ExpectedSide, found: FoundSide) -> None:
        if expected.decision is not None:
            self.decisions[side, expected.decision, found.decision] += 1
            for category, got in found.categories.items():
                if got.severity is not None:
                    self.severities[side, category][expected.decision, got.severity] += 1
        for category, wanted in expected.categories.items():
            truth = wanted.filtered if wanted.filtered is not None else wanted.detected
            judged = found.categories.get(category)
            if truth is not None:
                flagged = judged is not None and bool(judged.filtered if wanted.filtered is not None else judged.detected)
                self.categories[side, category].count(wanted=truth, found=flagged)


def _sides(outcome: Outcome) -> Iterator[tuple[str, ExpectedSide, FoundSide]]:
    for side, expected, found in (
        ("input", outcome.case.input, outcome.input),
        ("output", outcome.case.output, outcome.output),
    ):
        if expected is not None and found is not None:
            yield side, expected, found
