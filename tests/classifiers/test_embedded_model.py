"""The model file is read or refused, scores depend on the text alone, severities rise with scores."""

from __future__ import annotations

import io
import json
import re
import time
import zipfile
from collections.abc import Callable
from dataclasses import replace
from importlib import resources
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from safety_proxy.classifiers.embedded.features import distinct, ngrams, prepare
from safety_proxy.classifiers.embedded.model import (
    FORMAT,
    HARM_HEADS,
    HEADS,
    OPEN_FLOOR,
    PART,
    PART_OVERLAP,
    STRIDE,
    WINDOW,
    Model,
    describe,
    overall,
)
from safety_proxy.classifiers.embedded.network import Network, Reader
from safety_proxy.classifiers.embedded.wordpiece import Tokens
from safety_proxy.errors import ConfigError
from tests.classifiers.tiny_models import SMALL, H, constant_model, taught_model, tiny_model, tiny_tokens

VIOLENCE = HEADS.index("violence")
WORDS = st.lists(st.sampled_from(["bado", "kilu", "me", "a", "x", "lulu.", "dokime", "!"]), max_size=120).map(" ".join)
"""Texts of none to several windows, partly of unknown words."""


@pytest.fixture(scope="module")
def tokens_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tokens") / "tokens.npz"
    tiny_tokens().save(path)
    return path


@pytest.fixture(scope="module")
def tokens(tokens_file: Path) -> Tokens:
    """As read from their file, so that a model can name them."""
    return Tokens.load(tokens_file)


@pytest.fixture(scope="module")
def shipped() -> Model:
    return Model.load()


# ------------------------------------------------------------------------------------------------------------------ file


def test_the_shipped_files_are_small_and_quickly_loaded() -> None:
    folder = resources.files("safety_proxy.classifiers.embedded")
    for name in ("model.npz", "tokens.npz"):
        assert len(folder.joinpath(name).read_bytes()) <= 4 * 1024 * 1024
    Model.load()  # once, so that the disk is out of the measure
    began = time.thread_time()
    Model.load()
    assert time.thread_time() - began < 2  # about 0.3 s on an idle machine


def test_the_shipped_file_tells_where_it_comes_from(shipped: Model) -> None:
    assert set(shipped.metadata["data"]) == {"train.jsonl.gz", "dev.jsonl.gz"}
    assert all(len(digest) == 64 for digest in shipped.metadata["data"].values())
    assert len(shipped.metadata["sources"]) > 30
    assert all(source["licence"] and source["rows"] for source in shipped.metadata["sources"])
    assert "CC-BY-4.0" in shipped.metadata["notice"]
    assert set(shipped.metadata["training"]) >= {*HEADS, "network"}
    assert len(shipped.digest) == 64
    assert shipped.metadata["tokens"] == Tokens.load().digest


def test_a_saved_model_is_read_back_and_equal_models_give_equal_bytes(
    tmp_path: Path, tokens: Tokens, tokens_file: Path
) -> None:
    model = tiny_model(tokens=tokens)
    model.save(tmp_path / "a.npz")
    loaded = Model.load(tmp_path / "a.npz", tokens_file)
    loaded.save(tmp_path / "b.npz")
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    assert loaded.metadata == json.loads(json.dumps(model.metadata))
    assert loaded.recipe == SMALL
    assert (model.digest, len(loaded.digest)) == ("", 64)
    assert loaded.digest == Model.load(tmp_path / "b.npz", tokens_file).digest
    assert loaded.scores("bado any text").tolist() == model.scores("bado any text").tolist()


def test_the_file_holds_no_time_and_no_pickle(tmp_path: Path) -> None:
    tiny_model().save(tmp_path / "model.npz")
    with zipfile.ZipFile(tmp_path / "model.npz") as archive:
        assert {entry.date_time for entry in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}


Change = Callable[[dict[str, Any]], object]


def rewritten(path: Path, tokens: Tokens, change: Change) -> Path:
    """A good file with something changed."""
    tiny_model(tokens=tokens).save(path)
    with np.load(path) as file:
        arrays = dict(file)
    change(arrays)
    np.savez(path, **arrays)
    return path


def metadata(**changes: object) -> Change:
    def change(arrays: dict[str, Any]) -> None:
        content = json.dumps(json.loads(arrays["metadata"].tobytes()) | changes).encode()
        arrays["metadata"] = np.frombuffer(content, np.uint8)

    return change


def array(name: str, value: object) -> Change:
    return lambda arrays: arrays.__setitem__(name, value)


def cell(name: str, value: float) -> Change:
    """Its first number is another."""

    def change(arrays: dict[str, Any]) -> None:
        arrays[name] = arrays[name].copy()
        arrays[name].flat[0] = value

    return change


def shorter(name: str) -> Change:
    return lambda arrays: arrays.__setitem__(name, arrays[name][:-1])


def missing(name: str) -> Change:
    return lambda arrays: arrays.pop(name)


REAL = (
    "scales",
    "biases",
    "window_shares",
    "kernel",
    "channel_bias",
    "channel_steps",
    "output",
    "output_bias",
    "calibration",
    "cuts",
)
OLD = f"is not of format version {FORMAT}"
OTHER = "heads or windows are not those of this version"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (metadata(format=FORMAT - 1), OLD),
        (metadata(format=FORMAT + 1), OLD),
        (metadata(format=None), OLD),
        (array("metadata", np.frombuffer(b"[]", np.uint8)), OLD),
        (array("metadata", np.frombuffer(b"{", np.uint8)), "is not a model file"),
        (array("metadata", np.frombuffer(b"\xff", np.uint8)), "is not a model file"),
        (metadata(recipe=None), "the metadata holds no usable recipe"),
        (metadata(recipe={"bits": 10, "colour": 1}), "the metadata holds no usable recipe"),
        (metadata(recipe={"bits": 0}), "the metadata holds no usable recipe"),
        (metadata(recipe={"bits": 60}), "the metadata holds no usable recipe"),
        (metadata(recipe={"bits": 11.5}), "the metadata holds no usable recipe"),
        (metadata(recipe={"bits": 11, "chars": [3, 5], "words": [1, 3], "seed": 1}), "weights has shape"),
        (metadata(heads=["hate"]), OTHER),
        (metadata(heads=sorted(HEADS)), OTHER),
        *((metadata(**{key: 7}), OTHER) for key in ("window", "stride", "part", "part_overlap", "open_floor")),
        (metadata(tokens="0" * 64), "was made with other tokens"),
        (metadata(tokens=None), "was made with other tokens"),
        *((shorter(name), f"{name} has shape") for name in ("weights", *REAL) if not name.startswith("channel_b")),
        (shorter("channel_bias"), "kernel has shape"),  # which says how many channels there are
        (array("weights", np.zeros((1024, 3), np.int8)), "weights has shape"),
        (array("weights", np.zeros((1024, H), np.int16)), "weights has shape"),
        (array("window_shares", np.zeros(H, np.float32)), "window_shares has shape"),
        (array("scales", np.zeros(H)), "scales has shape"),
        *((cell(name, np.nan), f"{name} holds something other than numbers") for name in REAL),
        *((cell(name, np.inf), f"{name} holds something other than numbers") for name in REAL),
        (cell("channel_steps", 0), "channel_steps are not positive"),
        (cell("channel_steps", -0.5), "channel_steps are not positive"),
        (cell("cuts", 9), "cuts do not rise"),
        (array("cuts", np.zeros((2, H, 3), np.float32)), "cuts do not rise"),
        (array("cuts", np.array([{}], dtype=object)), "is not a model file"),
        *((missing(name), "is not a model file") for name in ("weights", *REAL, "metadata")),
    ],
)
def test_a_file_that_is_not_as_it_should_be_is_refused(
    tmp_path: Path, tokens: Tokens, tokens_file: Path, change: Change, message: str
) -> None:
    path = rewritten(tmp_path / "model.npz", tokens, change)
    with pytest.raises(ConfigError) as caught:
        Model.load(path, tokens_file)
    assert caught.value.file == str(path)
    assert message in caught.value.message


def test_a_file_of_the_first_format_is_refused(tmp_path: Path, tokens_file: Path) -> None:
    """It held no network, so it is no model file in the sense of this version."""
    arrays: dict[str, npt.NDArray[Any]] = {
        "weights": np.zeros((1 << SMALL.bits, H), np.int8),
        "scales": np.ones(H, np.float32),
        "biases": np.zeros(H, np.float32),
        "window_shares": np.zeros(H, np.float32),
        "calibration": np.zeros((H, 2), np.float32),
        "cuts": np.tile(np.array([0, 1, 2], np.float32), (H, 1)),
        "metadata": np.frombuffer(json.dumps(describe(SMALL) | {"format": 1}).encode(), np.uint8),
    }
    np.savez(tmp_path / "model.npz", allow_pickle=False, **arrays)
    with pytest.raises(ConfigError, match="is not"):
        Model.load(tmp_path / "model.npz", tokens_file)


def test_the_shipped_tokens_are_not_those_of_a_model_that_was_made_with_others(tmp_path: Path, tokens: Tokens) -> None:
    tiny_model(tokens=tokens).save(tmp_path / "model.npz")
    with pytest.raises(ConfigError, match="was made with other tokens"):
        Model.load(tmp_path / "model.npz")


def test_tokens_that_cannot_be_read_are_refused_by_their_own_name(tmp_path: Path, tokens: Tokens) -> None:
    tiny_model(tokens=tokens).save(tmp_path / "model.npz")
    with pytest.raises(ConfigError, match="cannot be read") as caught:
        Model.load(tmp_path / "model.npz", tmp_path / "none.npz")
    assert caught.value.file == str(tmp_path / "none.npz")


@pytest.mark.parametrize("content", [b"", b"not a zip", b"PK\x03\x04 cut short"])
def test_other_bytes_are_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "model.npz"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match="is not a model file"):
        Model.load(path)


def test_damaged_compressed_bytes_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.npz"
    tiny_model().save(path)
    content = bytearray(path.read_bytes())
    content[200:260] = bytes(60)
    path.write_bytes(bytes(content))
    with pytest.raises(ConfigError, match="is not a model file"):
        Model.load(path)


def test_an_archive_that_says_it_is_encrypted_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.npz"
    tiny_model().save(path)
    flagged = re.sub(rb"PK\x01\x02(....)\x00", lambda match: match[0][:-1] + b"\x01", path.read_bytes(), flags=re.DOTALL)
    path.write_bytes(flagged)
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


# ---------------------------------------------------------------------------------------------------------------- scores


def by_hand(model: Model, prepared: str, shares: npt.NDArray[np.float32], floor: int) -> npt.NDArray[np.float64]:
    """The scores of a text of one part, written down as the docstrings tell them."""
    families = ngrams(prepared, model.recipe)
    grams = [
        (int(bucket), int(start)) for family in families for bucket, start in zip(family.buckets, family.starts, strict=True)
    ]
    scales, biases = model.scales.astype(np.float64), model.biases.astype(np.float64)

    def score(buckets: list[int], least: int) -> npt.NDArray[np.float64]:
        sums = model.weights[buckets].astype(np.float64).sum(axis=0)
        return np.asarray(sums * scales / np.sqrt(max(len(buckets), least)) + biases)

    found = score(sorted({bucket for bucket, _ in grams}), floor)
    if len(prepared) > WINDOW:
        blocks = max((len(prepared) + STRIDE // 2) // STRIDE, 1)
        begun: list[list[int]] = [[] for _ in range(blocks)]
        for bucket, start in grams:
            begun[min(start // STRIDE, blocks - 1)].append(bucket)
        windows = [begun[first] + begun[first + 1] for first in range(blocks - 1)]
        best = np.max([score(window, 1) for window in windows], axis=0)
        found = shares * best + (1 - shares.astype(np.float64)) * found
    network = Network(model.kernel, model.channel_bias, model.output, model.output_bias, model.channel_steps)
    said = Reader(network, model.tokens).scores(model.tokens.ids(prepared), shares.astype(np.float64))
    return np.asarray((found + said) / 2)


@given(WORDS, st.booleans(), st.booleans())
def test_a_score_is_the_mean_of_what_n_grams_and_network_say(text: str, left: bool, right: bool) -> None:
    """In a window of a stream, which is open at an edge, the best window within it has a share of its own."""
    model = tiny_model()
    shares = model.window_shares[1 if left or right else 0]
    prepared = prepare(text, open_left=left, open_right=right)
    expected = by_hand(model, prepared, shares, OPEN_FLOOR if right else 1)
    assert model.scores(text, open_left=left, open_right=right).tolist() == pytest.approx(expected.tolist())


@given(WORDS.filter(bool), st.integers(1, 4 * WINDOW))
def test_the_sums_of_windows_are_those_of_the_n_grams_that_begin_in_them(text: str, length: int) -> None:
    model = tiny_model()
    prepared = prepare((f"{text} " * length)[:length])
    families = ngrams(prepared, model.recipe)
    if not families or len(prepared) <= WINDOW:
        return
    buckets, starts = (np.concatenate([getattr(family, name) for family in families]) for name in ("buckets", "starts"))
    rows = np.zeros((len(buckets), 8), np.float32)
    rows[:, :H] = model.weights[buckets]
    sums, counts = model._window_sums(families, rows, len(prepared))
    blocks = (len(prepared) + STRIDE // 2) // STRIDE
    assert len(sums) == len(counts) == blocks - 1
    for window in range(blocks - 1):
        last = window == blocks - 2  # what is left over at the end belongs to the last one
        inside = (starts >= window * STRIDE) & ((starts < (window + 2) * STRIDE) | last)
        assert counts[window] == max(int(inside.sum()), 1)
        assert sums[window, :H].tolist() == model.weights[buckets[inside]].astype(int).sum(axis=0).tolist()


@given(st.text(st.characters(codec=None, exclude_categories=()), max_size=300), st.booleans(), st.booleans())
def test_any_text_has_finite_scores_and_levels(text: str, left: bool, right: bool) -> None:
    model = tiny_model()
    scores = model.scores(text, open_left=left, open_right=right)
    assert scores.shape == (H,)
    assert scores.dtype == np.float64
    assert np.isfinite(scores).all()
    assert all(0 <= level <= 7 for window in (False, True) for level in model.levels(scores, window=window))


@given(st.lists(WORDS, max_size=4), WORDS)
def test_a_score_does_not_depend_on_what_was_scored_before(before: list[str], text: str) -> None:
    model = tiny_model()
    for other in before:
        model.scores(other)
    assert model.scores(text).tolist() == tiny_model().scores(text).tolist()


def test_the_n_grams_part_is_the_sum_of_the_weights_over_the_root_of_their_number() -> None:
    model = tiny_model()
    buckets = distinct([family.buckets for family in ngrams(" ab ", SMALL)])
    expected = model.weights[buckets].sum(axis=0, dtype=int) * model.scales / np.sqrt(len(buckets)) + model.biases
    assert model._score_ngrams(" ab ", 1, np.zeros(H)).tolist() == pytest.approx(expected.tolist())


def test_without_words_the_score_is_the_mean_of_the_biases() -> None:
    """Nor does the blank that is left stand for anything."""
    model = tiny_model()
    for text in ("", " \n", "\u200b"):
        assert model.scores(text).tolist() == pytest.approx(((model.biases + model.output_bias) / 2).tolist())


def test_what_the_n_grams_of_a_short_text_say_is_shrunk_only_where_it_goes_on() -> None:
    model = tiny_model(output=np.zeros_like(tiny_model().output), output_bias=tiny_model().biases)
    text = "This is how it begins. "
    closed, left, right = (
        model.scores(text, **edges) - model.biases for edges in ({}, {"open_left": False}, {"open_right": True})
    )
    assert left.tolist() == closed.tolist()
    assert (np.abs(right) < np.abs(closed) * 0.6).all()
    assert (np.sign(right) == np.sign(closed)).all()


def test_one_word_in_a_long_text_is_seen_by_the_windows() -> None:
    random = np.random.default_rng(8)
    calm = " ".join("".join(word) for word in random.choice(list("abcdefghij"), (200, 6)).tolist())
    text = f"{calm}. Seventeen zebras. {calm[::-1]}"
    assert len(text) > 4 * WINDOW
    whole, half, best = (
        replace(taught_model(violence="zebras"), window_shares=np.full((2, H), share, np.float32)).scores(text)
        for share in (0, 0.5, 1)
    )
    assert best[VIOLENCE] > whole[VIOLENCE] + 0.5
    assert half.tolist() == pytest.approx(((whole + best) / 2).tolist())


@pytest.mark.parametrize("length", [PART + 1, 2 * PART - PART_OVERLAP + 1])
def test_of_a_very_long_text_the_worst_part_counts(length: int) -> None:
    model = tiny_model()
    random = np.random.default_rng(length)
    words = " ".join(random.choice(["bado", "kilu", "me", "zebra", "dokime"], length).tolist())
    prepared = f" {words[: length - 3]}. "
    assert len(prepare(prepared)) == length
    covered, parts = 0, []
    while covered < length:
        begin = max(covered - PART_OVERLAP, 0)
        parts.append(prepared[begin : begin + PART])
        covered = begin + PART
    expected = np.max([by_hand(model, part, model.window_shares[0], 1) for part in parts], axis=0)
    assert model.scores(prepared).tolist() == pytest.approx(expected.tolist())


def test_a_threat_in_a_very_long_text_is_found_and_the_rest_of_it_is_not(shipped: Model) -> None:
    calm = "The train to the coast leaves at nine in the morning. " * 400
    threat = "I will kill you and your whole family tonight. "
    assert len(calm) > PART
    assert shipped.levels(shipped.scores(calm))[VIOLENCE] < 4
    assert shipped.levels(shipped.scores(calm + threat * 40 + calm))[VIOLENCE] >= 4


# ------------------------------------------------------------------------------------------------- levels, probabilities


@given(st.lists(st.floats(-10, 10), min_size=2, max_size=20), st.booleans())
def test_severity_rises_with_the_score(values: list[float], window: bool) -> None:
    model = tiny_model()
    levels = [model.levels(np.full(H, value), window=window) for value in sorted(values)]
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
        (1.99, 4),
        (2, 5),
        (2.99, 5),
        (3, 6),
        (3.99, 6),
        (4, 7),
        (9, 7),
    ],
)
def test_even_levels_begin_at_the_cuts_and_odd_ones_half_way(score: float, level: int) -> None:
    """For a text at 0, 1 and 3; for a window ten higher. The score of one head does not move the level of another."""
    cuts = np.array([[[0, 1, 3]] * H, [[10, 11, 13]] * H], np.float32)
    model = tiny_model(cuts=cuts)
    assert model.levels(np.full(H, score, np.float64)) == [level] * H
    assert model.levels(np.full(H, score + 10, np.float64), window=True) == [level] * H
    one = np.full(H, -50.0)
    one[VIOLENCE] = score
    assert model.levels(one) == [level if head == VIOLENCE else 0 for head in range(H)]


def test_each_head_has_cuts_of_its_own() -> None:
    cuts = np.array([[[n, n + 1, n + 2] for n in range(H)], [[-n, 10, 20] for n in range(H)]], np.float32)
    model = tiny_model(cuts=cuts)
    assert [level >= 2 for level in model.levels(np.full(H, 3.0))] == [n <= 3 for n in range(H)]
    assert [level >= 2 for level in model.levels(np.full(H, -3.0), window=True)] == [n >= 3 for n in range(H)]


def test_probabilities_follow_the_curve_of_the_head() -> None:
    curves = np.tile(np.array([1.5, -0.5], np.float32), (H, 1))
    curves[3] = (0, 0)
    scores = np.zeros(H)
    scores[1], scores[2], scores[3] = 1e6, -1e6, 8
    chances = tiny_model(calibration=curves).probabilities(scores)
    assert chances[0] == pytest.approx(1 / (1 + np.exp(0.5)))
    assert chances[1] == pytest.approx(1)
    assert chances[2] == pytest.approx(0)
    assert chances[3] == 0.5
    assert ((chances >= 0) & (chances <= 1)).all()


@given(st.lists(st.floats(0, 1), min_size=H, max_size=H))
def test_the_chance_of_any_harm_is_that_not_all_heads_of_harms_find_nothing(chances: list[float]) -> None:
    found = overall(np.array(chances))
    none = 1.0
    for chance in chances[:HARM_HEADS]:
        none *= 1 - chance
    assert found == pytest.approx(1 - none)
    assert found >= max(chances[:HARM_HEADS]) - 1e-9
    assert overall(np.array([*chances[:HARM_HEADS], *([1.0] * (H - HARM_HEADS))])) == found


def test_attacks_are_no_harms() -> None:
    assert set(HEADS[HARM_HEADS:]) == {"jailbreak", "indirect_attack"}


# --------------------------------------------------------------------------------------------------------- contributions


@given(
    st.lists(st.sampled_from(["bado", "kilu", "me", "zebra", "dokime."]), max_size=4, unique=True).map(" ".join),
    st.integers(0, H - 1),
)
def test_what_the_characters_add_is_the_score_but_for_the_biases(text: str, head: int) -> None:
    """When it is scored as a whole, and if no n-gram occurs twice or shares a bucket with another."""
    prepared = prepare(text)
    buckets = [int(bucket) for family in ngrams(prepared, SMALL) for bucket in family.buckets]
    assume(len(set(buckets)) == len(buckets))
    model = tiny_model(window_shares=np.zeros((2, H), np.float32))
    added = model.contributions(prepared, head)
    assert added.shape == (len(prepared),)
    biases = (float(model.biases[head]) + float(model.output_bias[head])) / 2
    assert added.sum() == pytest.approx(float(model.scores(text)[head]) - biases, abs=1e-4)


def test_a_constant_score_owes_nothing_to_any_character() -> None:
    assert not constant_model(violence=3).contributions(prepare("bado kilu"), VIOLENCE).any()
    assert constant_model().contributions(" ", VIOLENCE).tolist() == [0]
