"""The model file is read or refused, scores depend on the text alone, severities rise with scores."""

from __future__ import annotations

import io
import json
import time
import zipfile
from collections.abc import Callable
from dataclasses import replace
from importlib import resources
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from safety_proxy.classifiers.embedded.features import Recipe, distinct, ngrams
from safety_proxy.classifiers.embedded.model import HEADS, PART, WINDOW, Model, describe
from safety_proxy.errors import ConfigError

SMALL = Recipe(bits=10)
VIOLENCE = HEADS.index("violence")


def small_model(seed: int = 0) -> Model:
    """Random weights in 1,024 buckets."""
    random = np.random.default_rng(seed)
    return Model(
        weights=random.integers(-127, 128, (1 << SMALL.bits, len(HEADS)), dtype=np.int8),
        scales=random.uniform(0.01, 0.1, len(HEADS)).astype(np.float32),
        biases=random.uniform(-1, 0, len(HEADS)).astype(np.float32),
        window_shares=np.full(len(HEADS), 0.5, np.float32),
        calibration=np.tile(np.array([1.5, -0.5], np.float32), (len(HEADS), 1)),
        cuts=np.tile(np.array([0, 1, 3], np.float32), (len(HEADS), 1)),
        metadata=describe(SMALL),
    )


@pytest.fixture(scope="module")
def shipped() -> Model:
    return Model.load()


def test_the_shipped_file_is_small_and_quickly_loaded() -> None:
    size = len(resources.files("safety_proxy.classifiers.embedded").joinpath("model.npz").read_bytes())
    assert size <= 3 * 1024 * 1024
    Model.load()  # once, so that the disk is out of the measure
    began = time.perf_counter()
    Model.load()
    assert time.perf_counter() - began < 1.0  # 0.3 s are promised on an idle machine


def test_the_shipped_file_tells_where_it_comes_from(shipped: Model) -> None:
    assert set(shipped.metadata["data"]) == {"train.jsonl.gz", "dev.jsonl.gz"}
    assert all(len(digest) == 64 for digest in shipped.metadata["data"].values())
    assert len(shipped.metadata["sources"]) > 30
    assert all(source["licence"] and source["rows"] for source in shipped.metadata["sources"])
    assert "CC-BY-4.0" in shipped.metadata["notice"]
    assert len(shipped.digest) == 64


def test_a_saved_model_is_read_back_and_equal_models_give_equal_bytes(tmp_path: Path) -> None:
    model = small_model()
    model.save(tmp_path / "a.npz")
    loaded = Model.load(tmp_path / "a.npz")
    loaded.save(tmp_path / "b.npz")
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    assert loaded.metadata == json.loads(json.dumps(model.metadata))
    assert loaded.recipe == SMALL
    assert loaded.scores("any text").tolist() == model.scores("any text").tolist()


def rewritten(path: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    """A good file with one array changed."""
    small_model().save(path)
    with np.load(path) as file:
        arrays = dict(file)
    change(arrays)
    np.savez(path, **arrays)
    return path


def metadata(**changes: object) -> Callable[[dict[str, Any]], None]:
    def change(arrays: dict[str, Any]) -> None:
        content = json.dumps(describe(SMALL) | changes).encode()
        arrays["metadata"] = np.frombuffer(content, np.uint8)

    return change


def array(name: str, value: object) -> Callable[[dict[str, Any]], None]:
    return lambda arrays: arrays.__setitem__(name, value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (metadata(format=2), "is not of format version 1"),
        (array("metadata", np.frombuffer(b"[]", np.uint8)), "is not of format version 1"),
        (array("metadata", np.frombuffer(b"{", np.uint8)), "is not a model file"),
        (metadata(recipe=None), "the metadata holds no usable recipe"),
        (metadata(recipe={"bits": 18, "colour": 1}), "the metadata holds no usable recipe"),
        (metadata(recipe={"bits": 60}), "the metadata holds no usable recipe"),
        (metadata(heads=["hate"]), "heads or windows are not those of this version"),
        (metadata(window=7), "heads or windows are not those of this version"),
        (metadata(recipe={"bits": 11, "chars": [3, 5], "words": [1, 3], "seed": 1}), "weights has shape"),
        (array("weights", np.zeros((1024, 3), np.int8)), "weights has shape"),
        (array("scales", np.zeros(len(HEADS))), "scales has shape"),
        (array("biases", np.full(len(HEADS), np.nan, np.float32)), "biases holds something other than numbers"),
        (array("cuts", np.zeros((len(HEADS), 3), np.float32)), "cuts do not rise"),
        (array("cuts", np.array([{}], dtype=object)), "is not a model file"),
        (lambda arrays: arrays.pop("calibration"), "is not a model file"),
    ],
)
def test_a_file_that_is_not_as_it_should_be_is_refused(
    tmp_path: Path, change: Callable[[dict[str, Any]], None], message: str
) -> None:
    path = rewritten(tmp_path / "model.npz", change)
    with pytest.raises(ConfigError) as caught:
        Model.load(path)
    assert caught.value.file == str(path)
    assert message in caught.value.message


@pytest.mark.parametrize("content", [b"", b"not a zip", b"PK\x03\x04 cut short"])
def test_other_bytes_are_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "model.npz"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match="is not a model file"):
        Model.load(path)


def test_damaged_compressed_bytes_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.npz"
    small_model().save(path)
    content = bytearray(path.read_bytes())
    content[200:260] = bytes(60)
    path.write_bytes(bytes(content))
    with pytest.raises(ConfigError, match="is not a model file"):
        Model.load(path)


def test_a_single_array_instead_of_an_archive_is_refused(tmp_path: Path) -> None:
    content = io.BytesIO()
    np.save(content, np.zeros(3))
    (tmp_path / "model.npz").write_bytes(content.getvalue())
    with pytest.raises(ConfigError, match="is not a model file"):
        Model.load(tmp_path / "model.npz")


def test_a_missing_file_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read: No such file") as caught:
        Model.load(tmp_path / "none.npz")
    assert caught.value.file == str(tmp_path / "none.npz")


def test_the_file_holds_no_time_and_no_pickle(tmp_path: Path) -> None:
    small_model().save(tmp_path / "model.npz")
    with zipfile.ZipFile(tmp_path / "model.npz") as archive:
        assert {entry.date_time for entry in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}


@given(st.text(st.characters(codec=None, exclude_categories=()), max_size=300), st.booleans(), st.booleans())
def test_any_text_has_finite_scores_and_levels(text: str, left: bool, right: bool) -> None:
    model = small_model()
    scores = model.scores(text, open_left=left, open_right=right)
    assert scores.shape == (len(HEADS),)
    assert np.isfinite(scores).all()
    assert all(0 <= level <= 7 for level in model.levels(scores))


@given(st.lists(st.floats(-10, 10), min_size=2, max_size=20))
def test_severity_rises_with_the_score(values: list[float]) -> None:
    model = small_model()
    levels = [model.levels(np.full(len(HEADS), value)) for value in sorted(values)]
    assert all(a <= b for low, high in pairwise(levels) for a, b in zip(low, high, strict=True))


@pytest.mark.parametrize(
    ("score", "level"),
    [
        (-9, 0),
        (-0.51, 0),
        (-0.5, 1),
        (0, 2),
        (0.49, 2),
        (0.5, 3),
        (1, 4),
        (2, 5),
        (2.99, 5),
        (3, 6),
        (3.99, 6),
        (4, 7),
        (9, 7),
    ],
)
def test_even_levels_begin_at_the_cuts_and_odd_ones_half_way(score: float, level: int) -> None:
    assert small_model().levels(np.full(len(HEADS), score)) == [level] * len(HEADS)


def test_probabilities_follow_the_curve() -> None:
    scores = np.zeros(len(HEADS))
    scores[1], scores[2] = 1e6, -1e6
    chances = small_model().probabilities(scores)
    assert chances[0] == pytest.approx(1 / (1 + np.exp(0.5)))
    assert chances[1] == pytest.approx(1)
    assert chances[2] == pytest.approx(0)


def test_the_score_is_the_sum_of_the_weights_over_the_root_of_their_number() -> None:
    model = small_model()
    buckets = distinct([family.buckets for family in ngrams(" ab ", SMALL)])
    expected = model.weights[buckets].sum(axis=0, dtype=int) * model.scales / np.sqrt(len(buckets)) + model.biases
    assert model.scores("ab").tolist() == pytest.approx(expected.tolist())


def test_without_words_the_score_is_the_bias() -> None:
    model = small_model()
    assert model.scores("").tolist() == pytest.approx(model.biases.tolist())


def test_a_short_text_is_shrunk_towards_the_bias_only_where_it_goes_on() -> None:
    model = small_model()
    text = "This is how it begins. "
    closed, left, right = (
        model.scores(text, **edges) - model.biases for edges in ({}, {"open_left": False}, {"open_right": True})
    )
    assert left.tolist() == closed.tolist()
    assert (np.abs(right) < np.abs(closed) * 0.6).all()
    assert (np.sign(right) == np.sign(closed)).all()


def test_one_sentence_in_a_long_text_is_seen_by_the_windows() -> None:
    model = small_model()
    filler, sentence = "word " * 100, "Something altogether different, seventeen zebras."
    whole_only = replace(model, window_shares=np.zeros(len(HEADS), np.float32))
    windows_only = replace(model, window_shares=np.ones(len(HEADS), np.float32))
    text = filler + sentence + " " + filler
    assert len(text) > WINDOW
    assert (windows_only.scores(text) >= windows_only.scores(filler + filler) - 1e-9).all()
    middle = (whole_only.scores(text) + windows_only.scores(text)) / 2
    assert model.scores(text).tolist() == pytest.approx(middle.tolist())


def test_of_a_very_long_text_the_worst_part_counts(shipped: Model) -> None:
    calm = "The train to the coast leaves at nine in the morning. " * 400
    threat = "I will kill you and your whole family tonight. "
    assert len(calm) > PART
    text = calm + threat * 40 + calm
    assert shipped.levels(shipped.scores(calm))[VIOLENCE] < 4
    assert shipped.levels(shipped.scores(text))[VIOLENCE] >= 4
