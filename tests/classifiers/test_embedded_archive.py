"""An archive's bytes depend on its content alone, and numpy reads it without unpickling anything."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from safety_proxy.classifiers.embedded.archive import write_archive


def test_what_was_written_is_read_back_with_its_shapes_and_types(tmp_path: Path) -> None:
    arrays: dict[str, npt.NDArray[Any]] = {
        "small": np.array([[1, -2], [3, 4]], np.int8),
        "real": np.array([0.5], np.float32),
        "none": np.zeros((0, 3)),
    }
    write_archive(tmp_path / "a.npz", arrays, {"name": "caf\u00e9", "numbers": [1, 2]})
    with np.load(tmp_path / "a.npz", allow_pickle=False) as file:
        assert set(file) == {*arrays, "metadata"}
        for name, array in arrays.items():
            assert file[name].dtype == array.dtype
            assert file[name].shape == array.shape
            assert file[name].tolist() == array.tolist()
        assert json.loads(file["metadata"].tobytes()) == {"name": "caf\u00e9", "numbers": [1, 2]}


def test_equal_content_gives_equal_bytes_however_it_lies_in_memory(tmp_path: Path) -> None:
    array = np.arange(12, dtype=np.int16).reshape(3, 4)
    write_archive(tmp_path / "a.npz", {"x": array}, {"a": 1, "b": 2})
    write_archive(tmp_path / "b.npz", {"x": np.asfortranarray(array)}, {"b": 2, "a": 1})
    write_archive(tmp_path / "c.npz", {"x": np.repeat(array, 2, axis=1)[:, ::2]}, {"a": 1, "b": 2})
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes() == (tmp_path / "c.npz").read_bytes()


def test_other_content_gives_other_bytes(tmp_path: Path) -> None:
    write_archive(tmp_path / "a.npz", {"x": np.zeros(3)}, {})
    write_archive(tmp_path / "b.npz", {"x": np.zeros(4)}, {})
    write_archive(tmp_path / "c.npz", {"x": np.zeros(3)}, {"a": None})
    assert len({(tmp_path / f"{name}.npz").read_bytes() for name in "abc"}) == 3


def test_the_file_is_compressed_and_holds_no_time_and_no_rights_of_the_writer(tmp_path: Path) -> None:
    write_archive(tmp_path / "a.npz", {"x": np.zeros(10_000)}, {})
    with zipfile.ZipFile(tmp_path / "a.npz") as archive:
        entries = archive.infolist()
    assert [entry.filename for entry in entries] == ["x.npy", "metadata.npy"]
    assert {entry.date_time for entry in entries} == {(1980, 1, 1, 0, 0, 0)}
    assert {entry.external_attr >> 16 for entry in entries} == {0o644}
    assert (tmp_path / "a.npz").stat().st_size < 10_000


def test_an_array_that_would_have_to_be_pickled_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="Object arrays cannot be saved"):
        write_archive(tmp_path / "a.npz", {"x": np.array([{}], dtype=object)}, {})
