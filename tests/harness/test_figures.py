"""Claims about the figures of a threshold, and of all: that they are those of scikit-learn is shown on any verdicts."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, f1_score, precision_recall_curve, precision_score, recall_score

from safety_proxy.harness.figures import Flags, Values, average_precision, curve, row, rows, suggested

SEVERITIES = st.integers(0, 7).map(float)
PROBABILITIES = st.floats(0, 1, allow_nan=False)


@st.composite
def verdicts(draw: st.DrawFn, *, positive: bool = False) -> tuple[Values, Flags]:
    """Severities, or scores, and the truth; if *positive*, at least once true."""
    value = draw(st.sampled_from([SEVERITIES, PROBABILITIES]))
    pairs = draw(st.lists(st.tuples(value, st.booleans()), min_size=1, max_size=60))
    wanted = np.array([truth for _, truth in pairs], dtype=np.bool_)
    if positive:
        wanted[draw(st.integers(0, len(pairs) - 1))] = True
    return np.array([each for each, _ in pairs], dtype=np.float64), wanted


def array(*values: float) -> Values:
    return np.array(values, dtype=np.float64)


def flags(*values: int) -> Flags:
    return np.array(values, dtype=np.bool_)


# --------------------------------------------------------------------------------------------------------------- curves


@given(verdicts(positive=True))
def test_the_curve_is_that_of_scikit_learn(said: tuple[Values, Flags]) -> None:
    values, wanted = said
    ours = curve(values, wanted)
    assert ours is not None
    precision, recall, thresholds = precision_recall_curve(wanted, values)
    np.testing.assert_array_equal(ours.precision, precision)
    np.testing.assert_array_equal(ours.recall, recall)
    np.testing.assert_array_equal(ours.thresholds, thresholds)


@given(verdicts(positive=True))
def test_the_area_is_that_of_scikit_learn(said: tuple[Values, Flags]) -> None:
    values, wanted = said
    assert average_precision(curve(values, wanted)) == pytest.approx(average_precision_score(wanted, values), abs=1e-12)


def test_where_nothing_is_wanted_there_is_no_curve_and_no_area() -> None:
    assert curve(array(0, 7), flags(0, 0)) is None
    assert curve(array(), flags()) is None
    assert average_precision(None) is None


def test_a_perfect_ranking_has_an_area_of_one() -> None:
    assert average_precision(curve(array(0, 2, 4, 6), flags(0, 0, 1, 1))) == 1.0


# ------------------------------------------------------------------------------------------------------------ thresholds


@given(verdicts(), st.integers(1, 7))
def test_the_figures_at_a_threshold_are_those_of_scikit_learn_where_they_are_defined(
    said: tuple[Values, Flags], threshold: int
) -> None:
    values, wanted = said
    scores = row(values, wanted, np.zeros_like(wanted), threshold).scores
    for ours, theirs in ((scores.precision, precision_score), (scores.recall, recall_score), (scores.f1, f1_score)):
        expected = theirs(wanted, values >= threshold, zero_division=np.nan)
        assert ours.value is None if np.isnan(expected) else ours.value == pytest.approx(expected)


def test_a_severity_at_the_threshold_is_filtered() -> None:
    found = row(array(3, 4, 5), flags(1, 1, 1), flags(0, 0, 0), 4)
    assert (found.confusion.true_positives, found.confusion.false_negatives) == (2, 1)


def test_overblocking_is_the_share_of_benign_cases_that_are_filtered_others_do_not_count() -> None:
    """The fourth case must be let pass in this category, but it is not benign: another one filters it."""
    found = row(array(6, 4, 0, 4, 0), flags(1, 0, 0, 0, 0), flags(0, 1, 1, 0, 1), 4)
    assert found.overblocking.value == pytest.approx(1 / 3)
    assert found.benign == 3
    assert found.confusion.false_positives == 2


def test_without_a_benign_case_overblocking_is_undefined() -> None:
    assert row(array(4), flags(1), flags(0), 4).overblocking.value is None


def test_nothing_at_all_gives_undefined_figures_and_no_division_by_zero() -> None:
    found = row(array(), flags(), flags(), 4)
    assert [each.value for each in (found.scores.precision, found.scores.recall, found.scores.f1, found.overblocking)] == [
        None
    ] * 4


@given(verdicts())
def test_a_higher_threshold_never_filters_more(said: tuple[Values, Flags]) -> None:
    values, wanted = said
    shares = [each.overblocking.value or 0.0 for each in rows(values, wanted, ~wanted, range(1, 8))]
    assert shares == sorted(shares, reverse=True)


# ------------------------------------------------------------------------------------------------------------ suggestions


def test_the_strictest_threshold_within_the_target_is_suggested() -> None:
    benign = array(0, 0, 0, 2, 5)
    measured = rows(benign, flags(0, 0, 0, 0, 0), flags(1, 1, 1, 1, 1), (2, 4, 6))
    for target, threshold in ((0.4, 2), (0.2, 4), (0.19, 6), (0.0, 6)):
        best = suggested(measured, target)
        assert best is not None
        assert best.threshold == threshold


def test_nothing_is_suggested_if_every_threshold_filters_too_much_or_nothing_is_known() -> None:
    assert suggested(rows(array(7, 7), flags(0, 0), flags(1, 1), (2, 4, 6)), 0.4) is None
    assert suggested(rows(array(7, 7), flags(1, 1), flags(0, 0), (2, 4, 6)), 1.0) is None
