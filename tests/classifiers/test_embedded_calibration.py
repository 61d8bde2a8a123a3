"""Cut-offs hold the promised rates of false positives, and the curve fits the labels."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from safety_proxy.classifiers.embedded import calibration
from safety_proxy.classifiers.embedded.calibration import LONG, calibrate
from safety_proxy.classifiers.embedded.features import Recipe
from safety_proxy.classifiers.embedded.model import HEADS, Model, describe
from safety_proxy.classifiers.embedded.rows import Row

RECIPE = Recipe(bits=12)
JAILBREAK = HEADS.index("jailbreak")


def random_model() -> Model:
    random = np.random.default_rng(5)
    h = len(HEADS)
    return Model(
        weights=random.integers(-127, 128, (1 << RECIPE.bits, h), dtype=np.int8),
        scales=np.full(h, 0.05, np.float32),
        biases=np.zeros(h, np.float32),
        window_shares=np.full(h, 0.5, np.float32),
        calibration=np.tile(np.array([1, 0], np.float32), (h, 1)),
        cuts=np.tile(np.array([0, 1, 2], np.float32), (h, 1)),
        metadata=describe(RECIPE),
    )


def words(random: np.random.Generator, count: int) -> str:
    return " ".join("".join(chr(97 + c) for c in random.integers(0, 26, 5)) for _ in range(count))


def rows(source: str, count: int, label: int | None = 0, length: int = 8) -> list[Row]:
    random = np.random.default_rng(count)
    return [Row(words(random, length), dict.fromkeys(HEADS, label), source) for _ in range(count)]


@given(st.lists(st.floats(-100, 100, width=32), min_size=1, max_size=300), st.sampled_from([0.03, 0.005, 0.5]))
def test_at_most_the_share_reaches_a_cut_and_any_lower_cut_would_let_more_through(values: list[float], share: float) -> None:
    scores = np.array(values)
    cut = calibration._cut(scores, share)
    assert (scores >= cut).mean() <= share
    below = scores[scores < cut].max()
    assert (scores >= below).mean() > share


def test_the_promised_share_of_benign_rows_reaches_each_level() -> None:
    benign = rows("benign", 1000)
    model = calibrate(random_model(), [*benign, *rows("other", 50, 1)], frozenset({"benign"}))
    levels = np.array([model.levels(model.scores(row.text)) for row in benign])
    for level, share in ((2, 0.03), (4, 0.005)):
        assert ((levels >= level).mean(axis=0) <= share).all()
        assert ((levels >= level).mean(axis=0) >= share / 2).all()
    assert (np.diff(model.cuts, axis=1) > 0).all()


def test_rows_of_unknown_label_and_of_other_sources_do_not_move_the_cuts_of_harms() -> None:
    benign = rows("benign", 300)
    model = calibrate(random_model(), benign, frozenset({"benign"}))
    more = [*benign, *rows("benign", 200, None), *rows("noisy", 200, 0), *rows("noisy", 9, 1)]
    cuts = calibrate(random_model(), more, frozenset({"benign"})).cuts
    assert cuts[:JAILBREAK].tolist() == model.cuts[:JAILBREAK].tolist()
    assert cuts[JAILBREAK:].tolist() != model.cuts[JAILBREAK:].tolist()


def test_windows_of_long_benign_texts_may_raise_the_medium_cut_of_harms_alone() -> None:
    texts = rows("benign", 300)
    long = [Row(row.text, dict.fromkeys(HEADS), "benign") for row in rows("benign", 40, None, length=150)]
    assert len(long[0].text) >= LONG
    model, raised = (calibrate(random_model(), some, frozenset({"benign"})) for some in (texts, [*texts, *long]))
    assert (raised.cuts[:, 1] >= model.cuts[:, 1]).all()
    assert raised.cuts[JAILBREAK:].tolist() == model.cuts[JAILBREAK:].tolist()


def test_without_benign_rows_the_cuts_still_rise() -> None:
    model = calibrate(random_model(), rows("noisy", 20, 1), frozenset())
    assert (np.diff(model.cuts, axis=1) > 0).all()
    assert model.cuts[0, 0] == 0


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
