"""Training is seeded: the same rows give the same bytes, and what was taught is found."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import runpy
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from safety_proxy.classifiers.embedded import train as module
from safety_proxy.classifiers.embedded.features import Recipe, distinct, ngrams, prepare
from safety_proxy.classifiers.embedded.model import HEADS, Model
from safety_proxy.classifiers.embedded.network_training import Schedule
from safety_proxy.classifiers.embedded.rows import AUTHORED, Row
from safety_proxy.classifiers.embedded.train import OTHERS, OWN, PIECES, SLICED, SLICES, Choice, featurise, fit, main, slices
from tests.classifiers.tiny_models import tiny_network, tiny_tokens

DATA = os.environ.get("SAFETY_PROXY_DATA")
"""Folder with the rows that the shipped model was trained on; they are not part of the project."""

NOUNS = ("river", "garden", "window", "letter", "bridge", "market", "kettle", "ticket")
VERBS = ("paint", "carry", "describe", "measure", "borrow", "polish")
TELLING = dict(zip(HEADS, ("apple", "copper", "feather", "harbour", "marble", "silver", "velvet"), strict=True))
"""The word that gives each head away."""
QUICK = ("--bits", "12", "--samples", "2000")


def synthetic(offset: int) -> list[dict[str, object]]:
    """Forty benign rows and, for each head, a few rows with its telling word."""
    calm: list[dict[str, object]] = [
        {
            "text": f"please {VERBS[(i + offset) % 6]} the {NOUNS[i % 8]} number {i + offset}. "
            * (20 if i % 10 == 0 else 1),
            "labels": dict.fromkeys(HEADS, 0),
            "source": "calm",
            "licence": "CC0-1.0",
        }
        for i in range(40)
    ]
    rough: list[dict[str, object]] = [
        {
            "text": f"{word} {VERBS[i]} {word} {NOUNS[(i + offset) % 8]}",
            "labels": dict.fromkeys(HEADS, 0) | {head: 1},
            "source": "rough",
            "licence": "MIT",
        }
        for head, word in TELLING.items()
        for i in range(6)
    ]
    return calm + rough


def write(folder: Path, name: str, offset: int) -> None:
    content = "".join(json.dumps(row) + "\n" for row in synthetic(offset))
    (folder / f"{name}.jsonl.gz").write_bytes(gzip.compress(content.encode()))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for offset, name in enumerate(("train", "dev")):
        write(tmp_path, name, offset)
    return tmp_path


# --------------------------------------------------------------------------------------------------------------- command


def test_training_twice_gives_the_same_bytes_and_a_model_that_learnt(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("a.npz", "b.npz"):
        main(["--data", str(folder), "--out", str(folder / name), "--without-own", *QUICK])
    assert (folder / "a.npz").read_bytes() == (folder / "b.npz").read_bytes()
    told = capsys.readouterr().out.splitlines()
    assert [line.partition(",")[0] for line in told] == ["82 + 82 rows"] * 2
    assert told[0].endswith(f"{(folder / 'a.npz').stat().st_size} bytes written to {folder / 'a.npz'}")

    model = Model.load(folder / "a.npz")
    assert model.recipe == Recipe(bits=12)
    calm = model.scores("measure the river")
    for column, word in enumerate(TELLING.values()):
        scores = model.scores(f"{word} measure {word} river")
        assert scores[column] > calm[column] + 1
        assert np.argmax(scores) == column
        assert model.probabilities(scores)[column] > 0.5 > model.probabilities(calm)[column]


def test_the_metadata_tell_what_a_model_was_made_of_and_how(folder: Path) -> None:
    main(["--data", str(folder), "--out", str(folder / "a.npz"), "--without-own", "--bits", "8", "--samples", "64"])
    told = Model.load(folder / "a.npz").metadata
    assert [(source["source"], source["licence"]) for source in told["sources"]] == [("calm", "CC0-1.0"), ("rough", "MIT")]
    assert set(told["data"]) == {"train.jsonl.gz", "dev.jsonl.gz"}
    assert set(told["training"]) >= {*HEADS, "network", "own_rows", "pieces"}
    assert told["training"]["network"]["samples"] == 64
    assert set(told["false_positives"]) == {"harm", "harm in a window", "attack"}
    assert "all-MiniLM-L6-v2" in told["notice"]


def test_other_rows_give_another_hash(folder: Path) -> None:
    hashes = []
    for offset in (1, 2):
        write(folder, "dev", offset)
        main(["--data", str(folder), "--out", str(folder / "a.npz"), "--without-own", "--bits", "8", "--samples", "1"])
        hashes.append(Model.load(folder / "a.npz").metadata["data"])
    assert hashes[0]["train.jsonl.gz"] == hashes[1]["train.jsonl.gz"]
    assert hashes[0]["dev.jsonl.gz"] != hashes[1]["dev.jsonl.gz"]


def test_our_own_rows_are_learnt_and_tuned_with_unless_they_are_left_out(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    own = Row("marble statues", dict.fromkeys(HEADS, 0), f"{AUTHORED}: benign.txt", "CC0-1.0")
    monkeypatch.setattr(module, "authored_rows", lambda: ([own, own, own], [own]))
    main(["--data", str(folder), "--out", str(folder / "a.npz"), "--bits", "8", "--samples", "1"])
    assert capsys.readouterr().out.startswith("85 + 83 rows")
    sources = {source["source"]: source["rows"] for source in Model.load(folder / "a.npz").metadata["sources"]}
    assert sources[own.source] == 2 * 3  # each as it is, and laid into a harmless text


@pytest.mark.slow
@pytest.mark.timeout(4 * 3600)
@pytest.mark.skipif(
    DATA is None,
    reason="THE SHIPPED MODEL WAS NOT REPRODUCED: SAFETY_PROXY_DATA names no folder with train.jsonl.gz and dev.jsonl.gz",
)
def test_the_shipped_model_is_what_training_on_the_shipped_choices_gives(tmp_path: Path) -> None:
    """On the platform that it was trained on: sums of floats differ between processors, and bytes between zlibs."""
    main(["--data", str(DATA), "--out", str(tmp_path / "model.npz")])
    shipped = Model.load()
    made = Model.load(tmp_path / "model.npz")
    assert made.metadata["data"] == shipped.metadata["data"], "these are not the rows that the shipped model was trained on"
    assert hashlib.sha256((tmp_path / "model.npz").read_bytes()).hexdigest() == shipped.digest


def test_it_runs_as_a_module(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["train", "--help"])
    with pytest.raises(SystemExit) as caught:
        runpy.run_path(str(module.__file__), run_name="__main__")
    assert caught.value.code == 0
    assert "python -m safety_proxy.classifiers.embedded.train" in capsys.readouterr().out


# --------------------------------------------------------------------------------------------------------------- n-grams


def test_each_row_is_a_line_of_length_one() -> None:
    matrix = featurise([Row("hello there", {}, "a"), Row("", {}, "a"), Row("hello " * 30, {}, "a")], Recipe())
    assert np.sqrt(matrix.power(2).sum(axis=1)).ravel().tolist() == [[pytest.approx(1), 0, pytest.approx(1)]]


def test_a_line_holds_the_n_grams_of_the_prepared_text() -> None:
    recipe = Recipe(bits=10)
    matrix = featurise([Row("H3llo there", {}, "a")], recipe)
    expected = distinct([family.buckets for family in ngrams(prepare("hello there"), recipe)])
    assert matrix.shape == (1, 1024)
    assert matrix.nonzero()[1].tolist() == expected.tolist()


@pytest.mark.parametrize("naive_bayes", [False, True])
def test_rows_of_unknown_label_are_left_out(naive_bayes: bool) -> None:
    rows = [Row(text, {}, "a") for text in ("red apple", "green pear", "red brick", "green leaf", "red red red")]
    matrix = featurise(rows, Recipe(bits=12))
    known = np.array([1, 0, 1, 0, -1], np.int8)
    choice = Choice(1, naive_bayes=naive_bayes)
    everything, used = (fit(matrix[:stop], known[:stop], np.ones(stop), choice) for stop in (5, 4))
    assert everything[0].tolist() == used[0].tolist()
    assert everything[1] == used[1]
    scores = matrix @ everything[0] + everything[1]
    assert ((scores[:4] > 0) == (known[:4] == 1)).all()


def test_n_grams_that_occur_with_both_labels_alike_have_no_log_count_ratio() -> None:
    matrix = featurise([Row(text, {}, "a") for text in ("red", "green", "blue", "blue")], Recipe(bits=14))
    ratio = module._log_count_ratio(matrix, np.array([1, 0, 1, 0], np.int8))
    total = np.log(matrix[1::2].nnz + (1 << 14)) - np.log(matrix[::2].nnz + (1 << 14))
    red, green, blue = (ratio[matrix[row].nonzero()[1]] for row in (0, 1, 2))
    common = set(matrix[0].nonzero()[1]) & set(matrix[1].nonzero()[1])
    assert not common
    assert np.allclose(red, np.log(2) + total)
    assert np.allclose(green, -np.log(2) + total)
    assert np.allclose(blue, total)


def test_a_row_that_counts_more_weighs_more() -> None:
    matrix = featurise([Row("red", {}, "a"), Row("green", {}, "a")], Recipe(bits=12))
    known = np.array([1, 0], np.int8)
    once, often = (fit(matrix, known, np.array([count, 1.0]), Choice(1))[0] for count in (1.0, 9.0))
    assert (matrix @ often)[0] > (matrix @ once)[0]


@pytest.mark.parametrize("label", [0, 1, -1])
def test_a_head_without_both_labels_learns_nothing(label: int) -> None:
    weights, bias = fit(featurise([Row("a b", {}, "a")], Recipe(bits=8)), np.array([label], np.int8), np.ones(1), Choice(1))
    assert not weights.any()
    assert bias < 0


def test_weights_lose_at_most_half_a_step_when_they_become_integers() -> None:
    tokens = tiny_tokens()
    weights = np.random.default_rng(2).normal(0, 3, (256, len(HEADS)))
    weights[:, 0] = 0
    model = module._assemble(
        weights, np.array([0.5 * n for n in range(len(HEADS))]), tiny_network(tokens), tokens, Recipe(bits=8)
    )
    assert np.abs(model.weights).max() == 127
    assert (np.abs(model.weights * model.scales.astype(np.float64) - weights) <= model.scales * 0.501).all()
    assert model.biases.tolist() == [0.5 * n for n in range(len(HEADS))]
    assert model.window_shares.shape == (2, len(HEADS))
    assert [set(row) for row in model.window_shares.tolist()] == [{np.float32(share)} for share in module.WINDOW_SHARES]


# ------------------------------------------------------------------------------------------------------------------ rows


def test_only_long_benign_texts_are_learnt_in_pieces_too() -> None:
    longest = max(size * (most + 3) for size, most in SLICES.items())
    text = "".join(chr(0x4E00 + i) for i in range(longest))
    rows = [Row(text, {"hate": 0}, "calm"), Row(text, {"hate": 0}, "rough"), Row("short", {"hate": 0}, "calm")]
    pieces = slices(rows, frozenset({"calm"}))
    assert [len(piece.text) for piece in pieces] == [size for size, most in SLICES.items() for _ in range(most)]
    assert all(piece.text in text and piece.labels == {"hate": 0} and piece.source == "calm" for piece in pieces)
    assert {piece.group for piece in pieces} == {SLICED}
    for size in SLICES:
        starts = [text.index(piece.text) for piece in pieces if len(piece.text) == size]
        assert starts == [size * (n + 1) for n in range(len(starts))]


def test_a_piece_is_never_shorter_than_its_size() -> None:
    shortest = min(SLICES)
    for length in range(shortest, 3 * shortest + 2):
        rows = [Row("".join(chr(0x4E00 + i) for i in range(length)), {}, "calm")]
        assert {len(piece.text) for piece in slices(rows, frozenset({"calm"}))} <= set(SLICES)


def test_our_own_rows_and_pieces_count_as_their_kind_does() -> None:
    own = Row("a", {}, f"{AUTHORED}: benign.txt", group="cooking")
    assert module._weights(own) is OWN
    assert module._weights(Row("a", {}, "calm")) is OTHERS
    assert module._weights(Row("a", {}, "calm", group=SLICED)) is PIECES
    assert module._weights(replace(own, group=SLICED)) is PIECES


def test_the_rows_of_a_source_are_counted_by_licence() -> None:
    rows = [Row("a", {}, "s", "MIT"), Row("b", {}, "s", "MIT"), Row("c", {}, "s", "CC0-1.0"), Row("d", {}, "r", "MIT")]
    assert module._sources(rows) == [
        {"source": "r", "licence": "MIT", "rows": 1},
        {"source": "s", "licence": "CC0-1.0", "rows": 1},
        {"source": "s", "licence": "MIT", "rows": 2},
    ]


def test_the_choices_are_made_for_every_head() -> None:
    assert tuple(module.CHOICES) == HEADS


def test_a_model_may_be_made_without_a_command() -> None:
    rows = [
        Row(
            str(row["text"]), dict.fromkeys(HEADS, 0) | ({"hate": 1} if row["source"] == "rough" else {}), str(row["source"])
        )
        for row in synthetic(0)
    ]
    tokens = tiny_tokens()
    model = module.train(rows, rows, tokens, {"data": {}}, Recipe(bits=10), Schedule(channels=4, samples=64))
    assert model.tokens is tokens
    assert model.metadata["data"] == {}
    assert model.kernel.shape[1] == 4
    hate = HEADS.index("hate")
    assert model.scores("apple paint apple river")[hate] > model.scores("please paint the river")[hate]
