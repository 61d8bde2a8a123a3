"""Claims about the intervals: known values, what they never do, and that the scores are those that everybody computes."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest
from sklearn.metrics import f1_score, precision_score, recall_score

from safety_proxy.harness.intervals import Estimate, f1, precision, proportion, recall, scores, wilson
from safety_proxy.harness.summary import Confusion

COUNTS = st.integers(0, 60)
CONFUSIONS = st.builds(Confusion, COUNTS, COUNTS, COUNTS, COUNTS)


@st.composite
def proportions(draw: st.DrawFn) -> tuple[int, int]:
    total = draw(st.integers(1, 100_000))
    return draw(st.integers(0, total)), total


# -------------------------------------------------------------------------------------------------------------- Wilson


@pytest.mark.parametrize(
    ("successes", "total", "low", "high"),
    [
        (81, 263, 0.2553, 0.3662),  # Newcombe 1998 (Statistics in Medicine 17), table I, method 3
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0000, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_the_interval_is_that_of_newcombes_table(successes: int, total: int, low: float, high: float) -> None:
    assert wilson(successes, total) == pytest.approx((low, high), abs=5e-5)


@given(proportions())
def test_the_interval_is_scipys(counted: tuple[int, int]) -> None:
    expected = binomtest(*counted).proportion_ci(method="wilson")
    assert wilson(*counted) == pytest.approx((expected.low, expected.high), abs=1e-9)


@given(proportions())
def test_the_interval_holds_the_proportion_and_never_leaves_0_to_1(counted: tuple[int, int]) -> None:
    low, high = wilson(*counted)
    assert 0 <= low <= counted[0] / counted[1] <= high <= 1


def test_an_interval_of_nothing_is_everything() -> None:
    assert wilson(0, 0) == (0.0, 1.0)
    assert proportion(0, 0) == Estimate(None, 0.0, 1.0)


def test_more_cases_make_the_interval_narrower() -> None:
    widths = [high - low for low, high in (wilson(9 * n, 10 * n) for n in (1, 10, 100))]
    assert widths == sorted(widths, reverse=True)


@pytest.mark.parametrize(("successes", "total"), [(2, 1), (-1, 3)])
def test_what_is_no_proportion_is_refused(successes: int, total: int) -> None:
    with pytest.raises(ValueError, match="is no proportion"):
        wilson(successes, total)


# -------------------------------------------------------------------------------------------------------------- scores


def labels(confusion: Confusion) -> tuple[list[int], list[int]]:
    """Truth and what was found, one for each case."""
    kinds = [(1, 1), (0, 1), (1, 0), (0, 0)]
    counts = [confusion.true_positives, confusion.false_positives, confusion.false_negatives, confusion.true_negatives]
    cases = [kind for kind, count in zip(kinds, counts, strict=True) for _ in range(count)]
    return [truth for truth, _ in cases], [found for _, found in cases]


@given(CONFUSIONS)
def test_precision_recall_and_f1_are_scikit_learns(confusion: Confusion) -> None:
    """It says NaN where there is nothing to measure; but for F1 only if both parts are: with one part, 0."""
    truth, found = labels(confusion)
    if not truth:
        return
    got = scores(confusion)
    for estimate, theirs in ((got.precision, precision_score), (got.recall, recall_score), (got.f1, f1_score)):
        expected = theirs(truth, found, zero_division=math.nan)
        assert (math.nan if estimate.value is None else estimate.value) == pytest.approx(expected, nan_ok=True)


@given(CONFUSIONS)
def test_every_score_lies_in_its_interval(confusion: Confusion) -> None:
    for estimate in (precision(confusion), recall(confusion), f1(confusion)):
        assert 0 <= estimate.low <= (estimate.low if estimate.value is None else estimate.value) <= estimate.high <= 1


def test_what_was_never_filtered_and_never_should_have_been_has_no_score() -> None:
    assert scores(Confusion(true_negatives=9)).f1 == Estimate(None, 0.0, 1.0)
    assert precision(Confusion(false_negatives=3)).value is None
    assert recall(Confusion(false_positives=3)).value is None
    assert f1(Confusion(false_positives=3)).value == 0


def test_the_interval_of_f1_is_wilsons_of_the_jaccard_index_carried_over() -> None:
    """TP 80, FP 10, FN 10: J = 80/100."""
    low, high = wilson(80, 100)
    got = f1(Confusion(80, 10, 10, 1_000))
    assert got.value == pytest.approx(8 / 9)
    assert (got.low, got.high) == pytest.approx((2 * low / (1 + low), 2 * high / (1 + high)))


def test_true_negatives_make_no_score_look_surer() -> None:
    assert scores(Confusion(8, 1, 1, 0)) == scores(Confusion(8, 1, 1, 90_000))
