"""Training is seeded: the same rows give the same bytes, and what was taught is found."""

from __future__ import annotations

import gzip
import json
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest

from safety_proxy.classifiers.embedded import train as module
from safety_proxy.classifiers.embedded.contrast import SOURCE
from safety_proxy.classifiers.embedded.features import Recipe
from safety_proxy.classifiers.embedded.model import HEADS, Model
from safety_proxy.classifiers.embedded.rows import Row
from safety_proxy.classifiers.embedded.train import Choice, featurise, fit, main, slices

NOUNS = ("river", "garden", "window", "letter", "bridge", "market", "kettle", "ticket")
VERBS = ("paint", "carry", "describe", "measure", "borrow", "polish")


def lines(offset: int) -> str:
    """Forty benign rows and, for each head, a few rows with a word that gives it away."""
    rows = []
    for i in range(40):
        text = f"please {VERBS[(i + offset) % 6]} the {NOUNS[i % 8]} number {i + offset}. " * (20 if i % 10 == 0 else 1)
        rows.append({"text": text, "labels": dict.fromkeys(HEADS, 0), "source": "calm", "licence": "CC0-1.0"})
    for head in HEADS:
        for i in range(6):
            text = f"{head}word{head} {VERBS[i]} {NOUNS[(i + offset) % 8]}"
            rows.append({"text": text, "labels": dict.fromkeys(HEADS, 0) | {head: 1}, "source": "rough", "licence": "MIT"})
    return "".join(json.dumps(row) + "\n" for row in rows)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for offset, name in enumerate(("train", "dev")):
        (tmp_path / f"{name}.jsonl.gz").write_bytes(gzip.compress(lines(offset).encode()))
    return tmp_path


def test_training_twice_gives_the_same_bytes_and_a_model_that_learnt(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("a.npz", "b.npz"):
        main(["--data", str(folder), "--out", str(folder / name), "--bits", "14"])
    assert (folder / "a.npz").read_bytes() == (folder / "b.npz").read_bytes()
    assert "82 + 82 rows" in capsys.readouterr().out

    model = Model.load(folder / "a.npz")
    assert model.recipe == Recipe(bits=14)
    for column, head in enumerate(HEADS):
        assert model.scores(f"{head}word{head} measure river")[column] > model.scores("measure the river")[column] + 1
    assert [source["source"] for source in model.metadata["sources"]] == sorted({"calm", "rough", SOURCE})
    assert set(model.metadata["data"]) == {"train.jsonl.gz", "dev.jsonl.gz"}
    assert model.metadata["training"]["hate"] == {"c": 3, "naive_bayes": True, "window_share": 0.75}


def test_other_rows_give_another_hash(folder: Path) -> None:
    main(["--data", str(folder), "--out", str(folder / "a.npz"), "--bits", "8"])
    (folder / "dev.jsonl.gz").write_bytes(gzip.compress(lines(2).encode()))
    main(["--data", str(folder), "--out", str(folder / "b.npz"), "--bits", "8"])
    first, second = (Model.load(folder / name).metadata["data"] for name in ("a.npz", "b.npz"))
    assert first["train.jsonl.gz"] == second["train.jsonl.gz"]
    assert first["dev.jsonl.gz"] != second["dev.jsonl.gz"]


def test_each_row_is_a_line_of_length_one() -> None:
    matrix = featurise([Row("hello there", {}, "a"), Row("", {}, "a"), Row("hello " * 30, {}, "a")], Recipe())
    assert np.sqrt(matrix.power(2).sum(axis=1)).ravel().tolist() == [[pytest.approx(1), 0, pytest.approx(1)]]


def test_rows_of_unknown_label_are_left_out() -> None:
    rows = [Row(text, {}, "a") for text in ("red apple", "green pear", "red brick", "green leaf", "red red red")]
    matrix = featurise(rows, Recipe(bits=12))
    known = np.array([1, 0, 1, 0, -1], np.int8)
    everything, used = (fit(matrix[:stop], known[:stop], np.ones(stop), Choice(1, naive_bayes=True)) for stop in (5, 4))
    assert everything[0].tolist() == used[0].tolist()
    assert everything[1] == used[1]


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


def test_only_long_benign_texts_are_learnt_in_pieces_too() -> None:
    text = "".join(chr(97 + i % 26) for i in range(1500))
    rows = [Row(text, {"hate": 0}, "calm"), Row(text, {"hate": 0}, "rough"), Row("short", {"hate": 0}, "calm")]
    pieces = slices(rows, frozenset({"calm"}))
    assert [len(piece.text) for piece in pieces] == [300] * 3 + [90] * 8
    assert all(piece.text in text and piece.labels == {"hate": 0} for piece in pieces)
    assert pieces[0].text == text[300:600]


def test_the_choices_are_made_for_every_head() -> None:
    assert tuple(module.CHOICES) == HEADS


def test_it_runs_as_a_module(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["train", "--help"])
    with pytest.raises(SystemExit) as caught:
        runpy.run_path(str(module.__file__), run_name="__main__")
    assert caught.value.code == 0
    assert "python -m safety_proxy.classifiers.embedded.train" in capsys.readouterr().out
