"""The model file and the arithmetic on it: one linear head for each thing that is looked for.

The file is one ``.npz`` that holds, with *b* buckets and *h* heads: ``weights`` (int8, b x h), ``scales`` and ``biases``
(float32, h), ``window_shares`` (float32, h), ``calibration`` (float32, h x 2: slope and offset of the logistic curve that
makes a score a probability), ``cuts`` (float32, h x 3: the scores from which levels 2, 4 and 6 are given) and ``metadata``
(uint8: a JSON object in UTF-8, see `Model.metadata`). It holds no pickled object and is read with ``allow_pickle=False``.
"""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any, Final, Self, TypeAlias

import numpy as np
import numpy.typing as npt

from safety_proxy.classifiers.embedded.features import Ngrams, Recipe, distinct, ngrams, prepare
from safety_proxy.errors import ConfigError

Floats: TypeAlias = "npt.NDArray[np.float64]"

FORMAT: Final = 1
"""Version of the file and of all that `features` does; a file of another version is refused."""
HEADS: Final = ("hate", "harassment", "sexual", "violence", "self_harm", "jailbreak", "indirect_attack")
"""The heads in the order of the columns. Harassment counts under hate, as it does in Azure's definition of hate."""
WINDOW: Final = 80
"""Characters of a prepared text that are scored together, besides the whole: about a sentence, so that one harmful
sentence in harmless surroundings is seen."""
STRIDE: Final = 40
"""Distance between the beginnings of two such windows: what is at most this long lies whole in one of them."""
PART: Final = 16_384
"""Characters of a prepared text that count as a whole; of a longer one the worst part counts. Bounds the memory."""
PART_OVERLAP: Final = 512
"""Characters that two neighbouring parts share."""
OPEN_FLOOR: Final = 400
"""An n-gram count below this is taken for this where the text goes on to the right: little text, little certainty."""

_SHIPPED: Final = "model.npz"
_LANES: Final = 8
"""Columns of the table in memory: a row of eight floats is half a cache line, and BLAS sums such rows several times
faster than numpy sums int8. A float32 holds the sum over a part exactly (127 * 6 * PART < 2 ** 24)."""
_ARRAYS: Final = {"weights": "i1", "scales": "f4", "biases": "f4", "window_shares": "f4", "calibration": "f4", "cuts": "f4"}
_MOST_BITS: Final = 24
"""2 ** 24 rows of the table are half a gigabyte."""
_ZIP_EPOCH: Final = (1980, 1, 1, 0, 0, 0)


@dataclass(frozen=True, eq=False)
class Model:
    """The weights in memory. Immutable; may be used by several threads at once.

    Scores are sums of integers times one factor for each head, so they do not depend on the order of summation.
    """

    weights: npt.NDArray[np.int8]
    scales: npt.NDArray[np.float32]
    biases: npt.NDArray[np.float32]
    window_shares: npt.NDArray[np.float32]
    calibration: npt.NDArray[np.float32]
    cuts: npt.NDArray[np.float32]
    metadata: Mapping[str, Any]
    """``format``, ``recipe`` (see `Recipe`), ``heads``, ``window``, ``stride``, ``part``,
    ``part_overlap``, ``open_floor``, ``data`` (file name to
    SHA-256 of the rows), ``training`` (what was chosen for each head), ``false_positives`` (the rates behind the cuts),
    ``sources`` (name, licence, rows) and ``notice``."""
    digest: str = ""
    """SHA-256 of the file; empty for a model that was never a file."""
    recipe: Recipe = field(init=False)
    _table: npt.NDArray[np.float32] = field(init=False, repr=False)
    _steps: Floats = field(init=False, repr=False)

    def __post_init__(self) -> None:
        recipe = self.metadata["recipe"]
        object.__setattr__(
            self, "recipe", Recipe(recipe["bits"], tuple(recipe["chars"]), tuple(recipe["words"]), recipe["seed"])
        )
        table = np.zeros((len(self.weights), _LANES), np.float32)
        table[:, : len(HEADS)] = self.weights
        object.__setattr__(self, "_table", table)
        object.__setattr__(self, "_steps", _steps(self.cuts.astype(np.float64)))

    @classmethod
    def load(cls, path: Path | None = None) -> Self:
        """Read the model at *path*, or the one that ships with the package.

        Raises `ConfigError` if it cannot be read, is of another format version, or has a wrong shape.
        """
        name = str(path or _SHIPPED)
        try:
            content = path.read_bytes() if path else resources.files(__package__).joinpath(_SHIPPED).read_bytes()
            with np.load(io.BytesIO(content), allow_pickle=False) as file:
                arrays = {key: file[key] for key in _ARRAYS}
                metadata = json.loads(file["metadata"].tobytes())
        except OSError as error:
            raise ConfigError(f"cannot be read: {error.strerror or 'not a model file'}", file=name) from error
        # What zipfile, zlib and numpy raise for damaged archives; NotImplementedError: an unknown compression.
        except (ValueError, TypeError, KeyError, EOFError, NotImplementedError, zipfile.BadZipFile, zlib.error) as error:
            raise ConfigError("is not a model file", file=name) from error
        problem = _problem(arrays, metadata)
        if problem:
            raise ConfigError(problem, file=name)
        return cls(**arrays, metadata=metadata, digest=hashlib.sha256(content).hexdigest())

    def save(self, path: Path) -> None:
        """Write the model to *path*; equal models give equal bytes with one version of zlib."""
        metadata = np.frombuffer(json.dumps(self.metadata, sort_keys=True, ensure_ascii=True).encode(), np.uint8)
        with zipfile.ZipFile(path, "w") as archive:
            for name in (*_ARRAYS, "metadata"):
                array = metadata if name == "metadata" else getattr(self, name)
                content = io.BytesIO()
                np.lib.format.write_array(content, np.ascontiguousarray(array), allow_pickle=False)
                entry = zipfile.ZipInfo(f"{name}.npy", _ZIP_EPOCH)
                entry.compress_type = zipfile.ZIP_DEFLATED
                entry.external_attr = 0o644 << 16
                archive.writestr(entry, content.getvalue(), compresslevel=9)

    def scores(self, text: str, *, open_left: bool = False, open_right: bool = False) -> Floats:
        """The score of *text* under each head, in the order of `HEADS`. Depends on the arguments and on nothing else.

        A text of more than `WINDOW` characters is scored as a whole and in windows; the best window counts by the
        head's window share. Of a text of more than `PART` characters each part is scored so, and the best counts.
        """
        prepared = prepare(text, open_left=open_left, open_right=open_right)
        floor = OPEN_FLOOR if open_right else 1
        if len(prepared) <= PART:
            return self._score_part(prepared, floor)
        starts = range(0, len(prepared) - PART_OVERLAP, PART - PART_OVERLAP)
        return np.asarray(np.max([self._score_part(prepared[start : start + PART], floor) for start in starts], axis=0))

    def levels(self, scores: Floats) -> list[int]:
        """The severity (0-7) of each head's score: 2, 4 and 6 from the cuts on, odd ones half-way between."""
        return [int(level) for level in (scores[:, None] >= self._steps).sum(axis=1)]

    def probabilities(self, scores: Floats) -> Floats:
        """The scores as probabilities, by the logistic curve fitted on development rows."""
        slope, offset = self.calibration.astype(np.float64).T
        return np.asarray(1 / (1 + np.exp(-np.clip(slope * scores + offset, -50, 50))))

    def _score_part(self, prepared: str, floor: int) -> Floats:
        families = ngrams(prepared, self.recipe)
        buckets = distinct([family.buckets for family in families])
        total = np.ones(len(buckets), np.float32) @ self._table.take(buckets, axis=0)
        whole = self._score(total, max(len(buckets), floor))
        if len(prepared) <= WINDOW:
            return whole
        best = self._score(*self._window_sums(families, len(prepared))).max(axis=0)
        shares = self.window_shares.astype(np.float64)
        return np.asarray((1 - shares) * whole + shares * best)

    def _window_sums(self, families: Sequence[Ngrams], length: int) -> tuple[Floats, npt.NDArray[np.intp]]:
        """For each window the sum of the weights of the n-grams that lie whole within it, and their number.

        Running sums make the cost independent of width and stride. Within a window an n-gram counts as often as it
        occurs: repetitions are rare in a sentence, and finding them would cost more than all else.
        """
        begins = np.append(np.arange(0, length - WINDOW, STRIDE), length - WINDOW)
        sums, counts = np.zeros((len(begins), _LANES)), np.zeros(len(begins), np.intp)
        for family in families:
            running = np.zeros((len(family.buckets) + 1, _LANES))
            np.cumsum(self._table.take(family.buckets, axis=0), axis=0, out=running[1:])
            first = np.searchsorted(family.starts, begins)
            last = np.maximum(np.searchsorted(family.ends, begins + WINDOW, side="right"), first)
            sums += running[last] - running[first]
            counts += last - first
        return sums, np.maximum(counts, 1)

    def _score(self, sums: npt.NDArray[np.floating[Any]], count: int | npt.NDArray[np.intp]) -> Floats:
        """Sums of integer weights (..., 8) over *count* n-grams as scores (..., h)."""
        scaled = sums[..., : len(HEADS)] * self.scales.astype(np.float64)
        return np.asarray(scaled / np.sqrt(count)[..., None] + self.biases.astype(np.float64))


def _steps(cuts: Floats) -> Floats:
    """The scores from which levels 1 to 7 are given, for each head: (h, 7), ascending."""
    low, medium, high = cuts.T
    below, above = (medium - low) / 2, (high - medium) / 2
    return np.stack([low - below, low, low + below, medium, medium + above, high, high + above], axis=1)


def describe(recipe: Recipe) -> dict[str, Any]:
    """The part of the metadata that says how scores are made."""
    return {
        "format": FORMAT,
        "heads": list(HEADS),
        "recipe": asdict(recipe),
        "window": WINDOW,
        "stride": STRIDE,
        "part": PART,
        "part_overlap": PART_OVERLAP,
        "open_floor": OPEN_FLOOR,
    }


def _problem(arrays: Mapping[str, npt.NDArray[Any]], metadata: object) -> str | None:
    """What is wrong with the content of a model file, in words; None if nothing is."""
    if not isinstance(metadata, dict) or metadata.get("format") != FORMAT:
        return f"is not of format version {FORMAT}"
    recipe = Recipe()
    try:
        recipe = Recipe(**metadata["recipe"])
        usable = recipe.bits in range(1, _MOST_BITS + 1)
    except (KeyError, TypeError):
        usable = False
    if not usable:
        return "the metadata holds no usable recipe"
    expected = json.loads(json.dumps(describe(recipe)))
    if any(metadata.get(key) != value for key, value in expected.items()):
        return "heads or windows are not those of this version"
    return _shape_problem(arrays, 1 << recipe.bits)


def _shape_problem(arrays: Mapping[str, npt.NDArray[Any]], buckets: int) -> str | None:
    h = len(HEADS)
    shapes = {"weights": (buckets, h), "calibration": (h, 2), "cuts": (h, 3)}
    for name, kind in _ARRAYS.items():
        array, shape = arrays[name], shapes.get(name, (h,))
        if array.shape != shape or array.dtype != np.dtype(kind):
            return f"{name} has shape {array.shape} and type {array.dtype}, not {shape} and {np.dtype(kind)}"
        if not np.isfinite(array).all():
            return f"{name} holds something other than numbers"
    return None if (np.diff(arrays["cuts"], axis=1) > 0).all() else "cuts do not rise"
