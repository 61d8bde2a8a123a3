"""The figures are the textbook ones; where a figure has no meaning it is no number."""

from __future__ import annotations

import math
from importlib import import_module
from types import ModuleType

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from safety_proxy.classifiers.embedded.metrics import (
    average_precision,
    calibration_error,
    rank_correlation,
    recall_at,
    roc_auc,
)

SCORED = st.lists(st.tuples(st.booleans(), st.integers(-5, 5)), min_size=2, max_size=60).filter(
    lambda rows: len({label for label, _ in rows}) == 2
)
"""Labels of both kinds, with scores of which many are equal."""


def textbook(name: str) -> ModuleType:
    """A module of scikit-learn or scipy, which take seconds to import: not before they are wanted."""
    return import_module(name)


@given(SCORED)
def test_precision_and_area_agree_with_scikit_learn(rows: list[tuple[bool, int]]) -> None:
    wanted = np.array([label for label, _ in rows], np.int8)
    scores = np.array([score for _, score in rows], np.float64)
    assert average_precision(wanted, scores) == pytest.approx(
        textbook("sklearn.metrics").average_precision_score(wanted, scores)
    )
    assert roc_auc(wanted, scores) == pytest.approx(textbook("sklearn.metrics").roc_auc_score(wanted, scores))


@given(SCORED, st.sampled_from([0.01, 0.1, 0.3, 0.5, 0.9]))
def test_recall_is_one_that_scikit_learn_finds_within_the_share(rows: list[tuple[bool, int]], share: float) -> None:
    wanted = np.array([label for label, _ in rows], np.int8)
    scores = np.array([score for _, score in rows], np.float64)
    wrong, found, _ = textbook("sklearn.metrics").roc_curve(wanted, scores, drop_intermediate=False)
    assert recall_at(wanted, scores, share) in [pytest.approx(recall) for recall in found[wrong <= share + 1e-12]]


@given(st.lists(st.tuples(st.integers(-4, 4), st.floats(-4, 4)), min_size=2, max_size=40))
def test_rank_correlation_agrees_with_scipy(pairs: list[tuple[int, float]]) -> None:
    left, right = (np.array(side, np.float64) for side in zip(*pairs, strict=True))
    if len(set(left)) < 2 or len(set(right)) < 2:
        assert math.isnan(rank_correlation(left, right))
    else:
        assert rank_correlation(left, right) == pytest.approx(textbook("scipy.stats").spearmanr(left, right).statistic)


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 99)), min_size=1, max_size=60))
def test_the_calibration_error_is_the_mean_distance_from_scikit_learn_s_curve(rows: list[tuple[bool, int]]) -> None:
    wanted = np.array([label for label, _ in rows], np.int8)
    chances = np.array([(percent + 0.5) / 100 for _, percent in rows])  # none lies on the border of two bins
    true, said = textbook("sklearn.calibration").calibration_curve(wanted, chances, n_bins=10)
    sizes = [count for count in np.histogram(chances, bins=10, range=(0, 1))[0] if count]
    assert calibration_error(wanted, chances) == pytest.approx(np.average(np.abs(true - said), weights=sizes))


def test_the_calibration_error_is_nothing_if_what_was_said_came_true() -> None:
    assert calibration_error(np.array([0, 0, 0, 1], np.int8), np.full(4, 0.25)) == 0
    assert calibration_error(np.array([0, 1], np.int8), np.array([0.0, 1.0])) == 0
    assert calibration_error(np.array([1, 0], np.int8), np.array([0.0, 1.0])) == 1


def test_fewer_bins_see_less() -> None:
    wanted, chances = np.array([0, 1], np.int8), np.array([0.3, 0.7])
    assert calibration_error(wanted, chances, bins=1) == pytest.approx(0)
    assert calibration_error(wanted, chances, bins=2) == pytest.approx(0.3)


def test_figures_of_one_label_are_no_numbers() -> None:
    ones, scores = np.ones(3, np.int8), np.arange(3.0)
    for wanted in (ones, 1 - ones):
        assert math.isnan(roc_auc(wanted, scores))
        assert math.isnan(recall_at(wanted, scores, 0.01))
    assert math.isnan(average_precision(1 - ones, scores))
    assert average_precision(ones, scores) == 1


def test_figures_of_nothing_are_no_numbers() -> None:
    nothing, none = np.empty(0, np.int8), np.empty(0)
    assert math.isnan(average_precision(nothing, none))
    assert math.isnan(roc_auc(nothing, none))
    assert math.isnan(recall_at(nothing, none, 0.01))
    assert math.isnan(calibration_error(nothing, none))
    assert math.isnan(rank_correlation(none, none))


def test_rank_correlation_sees_order_alone() -> None:
    assert rank_correlation(np.array([1.0, 2, 3]), np.array([1.0, 10, 11])) == pytest.approx(1)
    assert rank_correlation(np.array([1.0, 2, 3]), np.array([9.0, 4, 1])) == pytest.approx(-1)
    assert rank_correlation(np.array([0.0, 0, 2, 2]), np.array([1.0, 1, 5, 5])) == pytest.approx(1)
    assert math.isnan(rank_correlation(np.array([1.0]), np.array([1.0])))


def test_recall_is_taken_above_the_score_that_the_share_of_negatives_reach() -> None:
    wanted = np.array([0] * 100 + [1] * 4, np.int8)
    scores = np.array([*range(100), 98.0, 99, 100, 101])
    assert recall_at(wanted, scores, 0.01) == 0.5
    assert recall_at(wanted, scores, 0.02) == 0.75
    assert recall_at(wanted, scores, 0.5) == 1
