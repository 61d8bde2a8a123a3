"""Cut-offs hold the promised rates of false positives, and the curve fits the labels."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from safety_proxy.classifiers.embedded import calibration
from safety_proxy.classifiers.embedded.calibration import COUNTED, FALSE_POSITIVES, LONG, TAIL, calibrate, cuts
from safety_proxy.classifiers.embedded.model import HEADS, Model
from safety_proxy.classifiers.embedded.rows import Row, stream_windows
from tests.classifiers.tiny_models import tiny_model

MODEL = tiny_model(seed=5)
JAILBREAK = HEADS.index("jailbreak")
BENIGN = frozenset({"benign"})
SHARES = {"low": 0.1, "medium": 0.04, "high": 0.02}
"""Large enough to be counted in a thousand."""

SCORES = st.lists(st.floats(-100, 100, width=32), min_size=1, max_size=300).map(np.array)
SHARE = st.floats(1e-6, 0.5)


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rates of the tests' own, in place of those that are tuned."""
    monkeypatch.setattr(calibration, "FALSE_POSITIVES", dict.fromkeys(FALSE_POSITIVES, SHARES))


def words(random: np.random.Generator, count: int) -> str:
    return " ".join("".join(chr(97 + c) for c in random.integers(0, 26, 5)) for _ in range(count))


def rows(source: str, count: int, label: int | None = 0, length: int = 8) -> list[Row]:
    random = np.random.default_rng(count)
    return [Row(words(random, length), dict.fromkeys(HEADS, label), source) for _ in range(count)]


def calibrated(some: list[Row], benign: frozenset[str] = BENIGN) -> Model:
    return calibrate(MODEL, some, benign)


# ------------------------------------------------------------------------------------------------------------------ cuts


@given(SCORES, SHARE)
def test_at_most_the_share_reaches_a_cut_that_is_counted_and_any_lower_cut_would_let_more_through(
    scores: npt.NDArray[np.float64], share: float
) -> None:
    if int(share * len(scores)) < COUNTED:
        return
    cut = calibration._cut(scores, share)
    assert (scores >= cut).mean() <= share
    below = scores[scores < cut].max()
    assert (scores >= below).mean() > share


@given(SCORES, SHARE)
def test_a_cut_that_cannot_be_counted_lies_in_the_tail_or_beyond(scores: npt.NDArray[np.float64], share: float) -> None:
    if int(share * len(scores)) >= COUNTED:
        return
    beyond = max(int(TAIL * len(scores)), 1)
    assert (scores > calibration._cut(scores, share)).sum() <= beyond


@given(SCORES, SHARE, SHARE)
def test_a_smaller_share_has_no_lower_cut(scores: npt.NDArray[np.float64], first: float, second: float) -> None:
    """As long as both can be counted, or neither."""
    if int(max(first, second) * len(scores)) < COUNTED or int(min(first, second) * len(scores)) >= COUNTED:
        assert calibration._cut(scores, min(first, second)) >= calibration._cut(scores, max(first, second)) - 1e-9


def test_the_tail_is_continued_as_an_exponential_one() -> None:
    """Of which it is known where the share lies."""
    scores = np.random.default_rng(3).exponential(2, 20_000)
    for share in (1e-3, 1e-4, 1e-6):
        assert calibration._cut(scores, share) == pytest.approx(-2 * np.log(share), rel=0.15)


def test_without_scores_there_is_a_cut_all_the_same() -> None:
    assert calibration._cut(np.empty(0), 0.1) == 0


@given(SCORES, st.lists(SHARE, min_size=3, max_size=3))
def test_cuts_rise_even_where_scores_do_not_tell_them_apart(scores: npt.NDArray[np.float64], shares: list[float]) -> None:
    low, medium, high = sorted(shares, reverse=True)
    for some in (scores, np.zeros_like(scores), np.empty(0)):
        found = cuts(some, {"low": low, "medium": medium, "high": high})
        assert (np.diff(np.array(found, np.float32)) > 0).all()


def test_the_promised_shares_fall_from_level_to_level() -> None:
    for shares in FALSE_POSITIVES.values():
        assert 1 > shares["low"] > shares["medium"] > shares["high"] > 0


# ------------------------------------------------------------------------------------------------------------- calibrate


@pytest.mark.usefixtures("counted")
def test_the_promised_share_of_benign_texts_reaches_each_level() -> None:
    benign = rows("benign", 1000)
    model = calibrated([*benign, *rows("other", 50, 1)])
    levels = np.array([model.levels(model.scores(row.text)) for row in benign])
    for level, share in zip((2, 4, 6), SHARES.values(), strict=True):
        assert ((levels >= level).mean(axis=0) <= share).all()
        assert ((levels >= level).mean(axis=0) >= share / 2).all()


@pytest.mark.usefixtures("counted")
def test_the_promised_share_of_windows_of_benign_streams_reaches_each_level_of_harm() -> None:
    benign = rows("benign", 60, length=300)
    model = calibrated([*benign, *rows("other", 50, 1)])
    windows = [window for row in benign for window in stream_windows(row.text)]
    assert len(windows) > 10 / min(SHARES.values())
    levels = np.array(
        [
            model.levels(model.scores(text, open_left=left, open_right=right), window=True)[:JAILBREAK]
            for text, left, right in windows
        ]
    )
    for level, share in zip((2, 4, 6), SHARES.values(), strict=True):
        assert ((levels >= level).mean(axis=0) <= share).all()
        assert ((levels >= level).mean(axis=0) >= share / 2).all()


@pytest.mark.usefixtures("counted")
def test_rows_of_unknown_label_and_of_other_sources_do_not_move_the_cuts_of_harms() -> None:
    benign = rows("benign", 300)
    model = calibrated(benign)
    more = [*benign, *rows("benign", 200, None), *rows("noisy", 200, 0), *rows("noisy", 9, 1)]
    moved = calibrated(more).cuts
    assert moved[:, :JAILBREAK].tolist() == model.cuts[:, :JAILBREAK].tolist()


@pytest.mark.usefixtures("counted")
def test_attacks_are_told_from_the_other_rows_of_sources_that_hold_attacks() -> None:
    benign, noisy = rows("benign", 300), rows("noisy", 200, 0)
    attacks = [replace(row, labels=dict(row.labels) | {"jailbreak": 1}) for row in rows("noisy", 9, 0)]
    alone, other, confused = (calibrated([*benign, *more]).cuts for more in ([], noisy, [*noisy, *attacks]))
    assert other.tolist() == alone.tolist()
    assert confused[:, JAILBREAK].tolist() != alone[:, JAILBREAK].tolist()
    assert np.delete(confused, JAILBREAK, axis=1).tolist() == np.delete(alone, JAILBREAK, axis=1).tolist()


@pytest.mark.usefixtures("counted")
def test_long_benign_texts_move_the_cuts_of_windows_and_no_others() -> None:
    texts = rows("benign", 300)
    long = rows("benign", 40, None, length=150)
    short = [replace(row, text=row.text[: LONG - 1]) for row in long]
    assert len(long[0].text) >= LONG
    plain, with_short, with_long, elsewhere = (
        calibrated([*texts, *more]).cuts for more in ([], short, long, [replace(row, source="noisy") for row in long])
    )
    assert plain.tolist() == with_short.tolist() == elsewhere.tolist()
    assert with_long[0].tolist() == plain[0].tolist()
    assert (with_long[1, :JAILBREAK] != plain[1, :JAILBREAK]).any()


def test_attacks_do_not_stream_and_have_the_same_cuts_in_a_window() -> None:
    model = calibrated([*rows("benign", 100), *rows("benign", 20, length=150)])
    assert model.cuts[0, JAILBREAK:].tolist() == model.cuts[1, JAILBREAK:].tolist()


def test_without_benign_rows_the_cuts_still_rise() -> None:
    model = calibrated(rows("noisy", 20, 1), frozenset())
    assert model.cuts.shape == MODEL.cuts.shape
    assert (np.diff(model.cuts, axis=-1) > 0).all()
    assert not model.cuts[:, :JAILBREAK, 0].any()


def test_calibration_changes_nothing_else() -> None:
    model = calibrated([*rows("benign", 50), *rows("other", 50, 1)])
    text = "bado kilu and something else"
    assert model.scores(text).tolist() == MODEL.scores(text).tolist()
    assert {model.cuts.dtype.name, model.calibration.dtype.name} == {"float32"}
    assert model.metadata == MODEL.metadata


def test_the_curve_of_a_head_is_fitted_to_the_rows_that_are_known() -> None:
    some = [*rows("benign", 80), *rows("other", 40, 1), *rows("unknown", 30, None)]
    model = calibrated(some)
    known = [row for row in some if row.source != "unknown"]
    scores = np.array([MODEL.scores(row.text) for row in known])
    wanted = np.array([row.label("hate") for row in known], np.int8)
    for column in range(len(HEADS)):
        assert model.calibration[column].tolist() == pytest.approx(calibration._logistic(scores[:, column], wanted))


# ----------------------------------------------------------------------------------------------------------------- curve


def test_the_curve_recovers_the_chances_it_was_made_of() -> None:
    random = np.random.default_rng(1)
    scores = random.normal(0, 3, 20_000)
    wanted = (random.uniform(size=len(scores)) < 1 / (1 + np.exp(-(1.7 * scores - 2)))).astype(np.int8)
    slope, offset = calibration._logistic(scores, wanted)
    assert slope == pytest.approx(1.7, abs=0.1)
    assert offset == pytest.approx(-2, abs=0.15)


@pytest.mark.parametrize("wanted", [[], [0, 0, 0], [1, 1, 1], [0, 0, 1]])
def test_a_curve_is_found_for_any_labels(wanted: list[int]) -> None:
    slope, offset = calibration._logistic(np.arange(len(wanted), dtype=np.float64), np.array(wanted, np.int8))
    assert np.isfinite([slope, offset]).all()


def test_a_curve_that_does_not_settle_is_given_up_and_is_a_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calibration, "_NEWTON_STEPS", 1)
    slope, offset = calibration._logistic(np.array([-2.0, 1, 3]), np.array([0, 1, 0], np.int8))
    assert np.isfinite([slope, offset]).all()
