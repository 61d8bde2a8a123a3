"""Archives of arrays (``.npz``): bytes that depend on the content alone, and one way to read and refuse them."""

from __future__ import annotations

import io
import json
import zipfile
import zlib
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from safety_proxy.errors import ConfigError

_EPOCH: Final = (1980, 1, 1, 0, 0, 0)


def write_archive(path: Path, arrays: Mapping[str, npt.NDArray[Any]], metadata: Mapping[str, Any]) -> None:
    """Write *arrays*, and *metadata* as JSON in an array of bytes; no pickled object, no date, no machine's name."""
    told = np.frombuffer(json.dumps(metadata, sort_keys=True, ensure_ascii=True).encode(), np.uint8)
    with zipfile.ZipFile(path, "w") as archive:
        for name, array in {**arrays, "metadata": told}.items():
            content = io.BytesIO()
            np.lib.format.write_array(content, np.ascontiguousarray(array), allow_pickle=False)
            entry = zipfile.ZipInfo(f"{name}.npy", _EPOCH)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, content.getvalue(), compresslevel=9)


def read_archive(path: Path | None, shipped: str, what: str) -> tuple[bytes, dict[str, npt.NDArray[Any]], Any]:
    """The bytes of the file at *path*, or of the one of that name that is *shipped*; its arrays; its metadata.

    Raises `ConfigError` if it cannot be read, or is not *what* it should be. Never unpickles.
    """
    name = str(path or shipped)
    try:
        content = path.read_bytes() if path else resources.files(__package__).joinpath(shipped).read_bytes()
    except OSError as error:
        raise ConfigError(f"cannot be read: {error.strerror or f'not {what}'}", file=name) from error
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            arrays = {
                entry.removesuffix(".npy"): np.lib.format.read_array(io.BytesIO(archive.read(entry)), allow_pickle=False)
                for entry in archive.namelist()
            }
        return content, arrays, json.loads(arrays.pop("metadata").tobytes())
    # What zipfile, zlib and numpy raise for damaged archives; RuntimeError: encrypted, or an unknown compression.
    except (ValueError, TypeError, KeyError, EOFError, RuntimeError, OSError, zipfile.BadZipFile, zlib.error) as error:
        raise ConfigError(f"is not {what}", file=name) from error
