"""The vectors that are shipped are those of a model, turned so that few components hold what tells pieces apart."""

from __future__ import annotations

import hashlib
import runpy
import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from safetensors.numpy import save_file

from safety_proxy.classifiers.embedded import make_tokens as module
from safety_proxy.classifiers.embedded.make_tokens import WIDTH, main, make_tokens
from safety_proxy.classifiers.embedded.wordpiece import Tokens

PIECES = ("[PAD]", "[UNK]", *(f"w{number}" for number in range(300)), "\u4f60", "##s")
DROPPED = (0, 302)
DIMENSIONS = 12
SPREAD = np.array([9, 7, 5, 3] + [0.01] * 8)


def table() -> npt.NDArray[np.float32]:
    """Vectors that differ along four directions, which are no axes, and lie off the centre."""
    random = np.random.default_rng(4)
    turn = np.linalg.qr(random.normal(size=(DIMENSIONS, DIMENSIONS)))[0]
    return np.asarray(random.normal(size=(len(PIECES), DIMENSIONS)) * SPREAD @ turn + 3, np.float32)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    other = np.ones((2, 2), np.float32)
    save_file({"pooler.weight": other, "embeddings.word_embeddings.weight": table()}, tmp_path / "model.safetensors")
    (tmp_path / "vocab.txt").write_text("".join(f"{piece}\n" for piece in PIECES), encoding="utf-8")
    return tmp_path


def kept() -> npt.NDArray[np.float64]:
    rows = np.delete(table().astype(np.float64), DROPPED, axis=0)
    return np.asarray(rows - rows.mean(axis=0))


def real(tokens: Tokens) -> npt.NDArray[np.float64]:
    return tokens.vectors.astype(np.float64) * tokens.scale


def test_plain_pieces_keep_their_order_and_have_one_vector_each(folder: Path) -> None:
    tokens = make_tokens(folder, 4)
    assert tokens.pieces == tuple(piece for number, piece in enumerate(PIECES) if number not in DROPPED)
    assert tokens.vectors.shape == (len(PIECES) - len(DROPPED), 4)
    assert tokens.vectors.dtype == np.int8


def test_the_vectors_lie_to_each_other_as_the_model_s_do_about_their_centre(folder: Path) -> None:
    """Turned and scaled as a whole, so all products keep their proportions, but for rounding."""
    found, wanted = real(make_tokens(folder, 4)), kept()
    found, wanted = found @ found.T, wanted @ wanted.T
    assert np.corrcoef(found.ravel(), wanted.ravel())[0, 1] > 0.999


def test_of_fewer_components_those_are_kept_along_which_the_vectors_differ_most(folder: Path) -> None:
    spread = real(make_tokens(folder, 3)).std(axis=0)
    assert (np.diff(spread) < 0).all()
    assert (spread / spread[0]).tolist() == pytest.approx((SPREAD[:3] / SPREAD[0]).tolist(), rel=0.2)


def test_the_vectors_are_in_units_of_their_standard_deviation(folder: Path) -> None:
    assert real(make_tokens(folder, 4)).std() == pytest.approx(1, abs=0.05)


def test_the_vectors_do_not_depend_on_the_signs_that_a_linear_algebra_library_chooses(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = make_tokens(folder, 4).vectors.tolist()
    eigh = np.linalg.eigh

    def turned(matrix: npt.NDArray[np.float64]) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        values, axes = eigh(matrix)
        return values, axes * np.array([-1, 1] * (len(axes) // 2))

    monkeypatch.setattr(np.linalg, "eigh", turned)
    assert make_tokens(folder, 4).vectors.tolist() == expected


def test_the_file_tells_its_source_its_licence_and_the_hash_of_the_weights(folder: Path) -> None:
    told = make_tokens(folder, 4).metadata
    assert told["licence"] == "Apache-2.0"
    assert told["weights_sha256"] == hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    assert told["source"].startswith("token embeddings of ")
    assert told["made_by"] == module.__name__


def test_the_command_writes_a_file_that_is_read_back_the_same_every_time(folder: Path) -> None:
    for name in ("a.npz", "b.npz"):
        main(["--model", str(folder), "--out", str(folder / name)])
    assert (folder / "a.npz").read_bytes() == (folder / "b.npz").read_bytes()
    tokens = Tokens.load(folder / "a.npz")
    assert tokens.vectors.shape[1] == min(WIDTH, DIMENSIONS)
    assert tokens.metadata == make_tokens(folder).metadata


def test_it_runs_as_a_module(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["make_tokens", "--help"])
    with pytest.raises(SystemExit) as caught:
        runpy.run_path(str(module.__file__), run_name="__main__")
    assert caught.value.code == 0
    assert "python -m safety_proxy.classifiers.embedded.make_tokens" in capsys.readouterr().out
