"""The model file and the arithmetic on it: for each thing that is looked for, the mean of two logits.

One comes from hashed n-grams (`features`) by a linear head, which knows spellings; the other from a small network over
the vectors of the words' pieces (`network`), which knows words that mean alike and what stands beside them.

The file is one ``.npz`` that holds, with *b* buckets, *h* heads, *d* components of a vector and *c* channels: ``weights``
(int8, b x h), ``scales`` and ``biases`` (float32, h), ``window_shares`` (float32, 2 x h: of a text, of a stream's window),
``kernel`` (3d x c), ``channel_bias`` and ``channel_steps`` (c), ``output`` (2c x h) and ``output_bias`` (h) of the network
(float32), ``calibration`` (float32, h x 2: slope and offset of the logistic curve that makes a score a probability),
``cuts`` (float32, 2 x h x 3: the scores from which levels 2, 4 and 6 are given to a text, and to a window of a stream) and
``metadata`` (uint8: a JSON object in UTF-8, see `Model.metadata`). No pickled object; read with ``allow_pickle=False``.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final, Self, TypeAlias

import numpy as np
import numpy.typing as npt

from safety_proxy.classifiers.embedded.archive import read_archive, write_archive
from safety_proxy.classifiers.embedded.features import Ngrams, Recipe, first_of_each, ngrams, prepare
from safety_proxy.classifiers.embedded.network import REACH, Matrix, Network, Reader
from safety_proxy.classifiers.embedded.wordpiece import Tokens
from safety_proxy.errors import ConfigError

Floats: TypeAlias = "npt.NDArray[np.float64]"

FORMAT: Final = 2
"""Version of the file and of all that `features` does; a file of another version is refused."""
HEADS: Final = ("hate", "harassment", "sexual", "violence", "self_harm", "jailbreak", "indirect_attack")
"""The heads in the order of the columns. Harassment counts under hate, as it does in Azure's definition of hate."""
HARM_HEADS: Final = 5
"""The first five heads are harms, the others attacks."""
STRIDE: Final = 40
"""Characters of a prepared text between the beginnings of two windows that are scored besides the whole."""
WINDOW: Final = 2 * STRIDE
"""Characters of such a window: about a sentence, so that one harmful sentence in harmless surroundings is seen."""
PART: Final = 16_384
"""Characters of a prepared text that count as a whole; of a longer one the worst part counts. Bounds the memory."""
PART_OVERLAP: Final = 512
"""Characters that two neighbouring parts share."""
OPEN_FLOOR: Final = 400
"""An n-gram count below this is taken for this where the text goes on to the right: little text, little certainty."""

_SHIPPED: Final = "model.npz"
_LANES: Final = 8
"""Columns of the table in memory: a row of eight bytes is fetched as one number, several times faster than as a row. As
float32 such rows are summed by BLAS, exactly (127 * 6 * PART < 2 ** 24)."""
_ARRAYS: Final = {
    "weights": "i1",
    "scales": "f4",
    "biases": "f4",
    "window_shares": "f4",
    "kernel": "f4",
    "channel_bias": "f4",
    "channel_steps": "f4",
    "output": "f4",
    "output_bias": "f4",
    "calibration": "f4",
    "cuts": "f4",
}
_MOST_BITS: Final = 24
"""2 ** 24 rows of the table are half a gigabyte."""


@dataclass(frozen=True, eq=False)
class Model:
    """The weights in memory. Immutable; may be used by several threads at once.

    The n-grams' part of a score is a sum of integers times one factor for each head, and so is what the network adds up:
    they depend on no order of summation.
    """

    weights: npt.NDArray[np.int8]
    scales: Matrix
    biases: Matrix
    window_shares: Matrix
    kernel: Matrix
    channel_bias: Matrix
    channel_steps: Matrix
    output: Matrix
    output_bias: Matrix
    calibration: Matrix
    cuts: Matrix
    metadata: Mapping[str, Any]
    """``format``, ``recipe`` (see `Recipe`), ``heads``, ``window``, ``stride``, ``part``, ``part_overlap``, ``open_floor``,
    ``tokens`` (SHA-256 of the file of tokens), ``data`` (file name to SHA-256 of the rows), ``training`` (what was chosen
    for each head and for the network), ``false_positives`` (the rates behind the cuts), ``sources`` (name, licence, rows)
    and ``notice``."""
    tokens: Tokens = field(repr=False)
    digest: str = ""
    """SHA-256 of the file; empty for a model that was never a file."""
    recipe: Recipe = field(init=False)
    _table: npt.NDArray[np.int64] = field(init=False, repr=False)
    _reader: Reader = field(init=False, repr=False)
    _steps: Floats = field(init=False, repr=False)

    def __post_init__(self) -> None:
        recipe = self.metadata["recipe"]
        object.__setattr__(
            self, "recipe", Recipe(recipe["bits"], tuple(recipe["chars"]), tuple(recipe["words"]), recipe["seed"])
        )
        table = np.zeros((len(self.weights), _LANES), np.int8)
        table[:, : len(HEADS)] = self.weights
        object.__setattr__(self, "_table", table.view(np.int64)[:, 0])
        network = Network(self.kernel, self.channel_bias, self.output, self.output_bias, self.channel_steps)
        object.__setattr__(self, "_reader", Reader(network, self.tokens))
        object.__setattr__(self, "_steps", np.stack([_steps(cuts) for cuts in self.cuts.astype(np.float64)]))

    @classmethod
    def load(cls, path: Path | None = None, tokens: Path | None = None) -> Self:
        """Read the model at *path*, or the one that ships, and the *tokens* it was made with, or those that ship.

        Raises `ConfigError` if one cannot be read, is of another format version, has a wrong shape, or if they do not
        belong together.
        """
        name = str(path or _SHIPPED)
        content, found, metadata = read_archive(path, _SHIPPED, "a model file")
        if not found.keys() >= _ARRAYS.keys():
            raise ConfigError("is not a model file", file=name)
        arrays = {key: found[key] for key in _ARRAYS}
        vocabulary = Tokens.load(tokens)
        problem = _problem(arrays, metadata, vocabulary)
        if problem:
            raise ConfigError(problem, file=name)
        return cls(**arrays, metadata=metadata, tokens=vocabulary, digest=hashlib.sha256(content).hexdigest())

    def save(self, path: Path) -> None:
        """Write the model to *path*; equal models give equal bytes with one version of zlib."""
        write_archive(path, {name: getattr(self, name) for name in _ARRAYS}, self.metadata)

    def scores(self, text: str, *, open_left: bool = False, open_right: bool = False) -> Floats:
        """The score of *text* under each head, in the order of `HEADS`. Depends on the arguments and on nothing else.

        A text of more than `WINDOW` characters is scored as a whole and in windows; the best window counts by the
        head's window share, which is greater where the text is itself a window of a stream: harm that begins there must
        be seen whatever stands around it. Of a text of more than `PART` characters the best of all parts counts.
        """
        prepared = prepare(text, open_left=open_left, open_right=open_right)
        floor = OPEN_FLOOR if open_right else 1
        shares = self.window_shares[int(open_left or open_right)].astype(np.float64)
        if len(prepared) <= PART:
            return self._score_part(prepared, floor, shares)
        starts = range(0, len(prepared) - PART_OVERLAP, PART - PART_OVERLAP)
        parts = [self._score_part(prepared[start : start + PART], floor, shares) for start in starts]
        return np.asarray(np.max(parts, axis=0))

    def levels(self, scores: Floats, *, window: bool = False) -> list[int]:
        """The severity (0-7) of each head's score: 2, 4 and 6 from the cuts on, odd ones half-way between.

        A *window* of a stream has cuts of its own: a stream is judged dozens of times, and must not be stopped for that.
        """
        return [int(level) for level in (scores[:, None] >= self._steps[int(window)]).sum(axis=1)]

    def probabilities(self, scores: Floats) -> Floats:
        """The scores as probabilities, by the logistic curve fitted on development rows."""
        slope, offset = self.calibration.astype(np.float64).T
        return np.asarray(1 / (1 + np.exp(-np.clip(slope * scores + offset, -50, 50))))

    def contributions(self, prepared: str, head: int) -> Floats:
        """What each character of *prepared* adds to the score of a head, when the text is scored as a whole."""
        families = ngrams(prepared, self.recipe)
        buckets = [family.buckets for family in families]
        distinct = len(np.unique(np.concatenate(buckets))) if families else 1
        changes = np.zeros(len(prepared) + 1)
        for family in families:
            shares = self.weights[family.buckets, head] * (float(self.scales[head]) / np.sqrt(distinct))
            _spread(changes, family.starts, family.ends, shares)
        ids, places = self.tokens.places(prepared)
        if places:
            starts, ends = np.array(places).T
            _spread(changes, starts, ends, self._reader.contributions(ids)[:, head])
        return np.asarray(np.cumsum(changes)[:-1] / 2)

    def _score_part(self, prepared: str, floor: int, shares: Floats) -> Floats:
        from_pieces = self._reader.scores(self.tokens.ids(prepared), shares)
        return np.asarray((self._score_ngrams(prepared, floor, shares) + from_pieces) / 2)

    def _score_ngrams(self, prepared: str, floor: int, shares: Floats) -> Floats:
        families = ngrams(prepared, self.recipe)
        if not families:
            return self._score(np.zeros(_LANES), 1)
        buckets = np.concatenate([family.buckets for family in families])
        rows = self._table.take(buckets).view(np.int8).reshape(-1, _LANES).astype(np.float32)
        once = first_of_each(buckets, len(self._table))
        whole = self._score(once.astype(np.float32) @ rows, max(int(once.sum()), floor))
        if len(prepared) <= WINDOW:
            return whole
        best = self._score(*self._window_sums(families, rows, len(prepared))).max(axis=0)
        return np.asarray((1 - shares) * whole + shares * best)

    def _window_sums(self, families: Sequence[Ngrams], rows: Matrix, length: int) -> tuple[Floats, npt.NDArray[np.intp]]:
        """For each window the sum of the weights of the n-grams that begin within it, and their number.

        Within a window an n-gram counts as often as it occurs: repetitions are rare in a sentence, and finding them
        would cost more than all else.
        """
        blocks = max((length + STRIDE // 2) // STRIDE, 1)
        places = np.concatenate([family.starts for family in families]) // STRIDE
        np.minimum(places, blocks - 1, out=places)
        # Runs of n-grams of one length that begin in one block; they lie side by side.
        runs = np.flatnonzero(places[1:] != places[:-1]) + 1
        runs = np.concatenate([[0], runs])
        sums, counts = np.zeros((blocks, _LANES)), np.zeros(blocks, np.intp)
        np.add.at(sums, places[runs], np.add.reduceat(rows, runs, axis=0))
        np.add.at(counts, places[runs], np.append(runs[1:], len(rows)) - runs)
        return sums[1:] + sums[:-1], np.maximum(counts[1:] + counts[:-1], 1)

    def _score(self, sums: npt.NDArray[np.floating[Any]], count: int | npt.NDArray[np.intp]) -> Floats:
        """Sums of integer weights (..., 8) over *count* n-grams as scores (..., h)."""
        scaled = sums[..., : len(HEADS)] * self.scales.astype(np.float64)
        return np.asarray(scaled / np.sqrt(count)[..., None] + self.biases.astype(np.float64))


def _spread(changes: Floats, starts: npt.NDArray[np.intp], ends: npt.NDArray[np.intp], amounts: Floats) -> None:
    """Lay each of *amounts* evenly over its characters; running sums of *changes* are what each character has."""
    each = amounts / (ends - starts)
    np.add.at(changes, starts, each)
    np.subtract.at(changes, ends, each)


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


def overall(probabilities: Floats) -> float:
    """The chance that a text holds any harm, if what the harms' heads find were independent of each other."""
    return float(1 - np.prod(1 - probabilities[:HARM_HEADS]))


def _problem(arrays: Mapping[str, npt.NDArray[Any]], metadata: object, tokens: Tokens) -> str | None:
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
    if metadata.get("tokens") != tokens.digest:
        return "was made with other tokens"
    return _shape_problem(arrays, 1 << recipe.bits, tokens.vectors.shape[1])


def _shape_problem(arrays: Mapping[str, npt.NDArray[Any]], buckets: int, width: int) -> str | None:
    h, c = len(HEADS), arrays["channel_bias"].size
    shapes: dict[str, tuple[int, ...]] = {
        "weights": (buckets, h),
        "window_shares": (2, h),
        "kernel": (REACH * width, c),
        "channel_bias": (c,),
        "channel_steps": (c,),
        "output": (2 * c, h),
        "calibration": (h, 2),
        "cuts": (2, h, 3),
    }
    for name, kind in _ARRAYS.items():
        array, shape = arrays[name], shapes.get(name, (h,))
        if array.shape != shape or array.dtype != np.dtype(kind):
            return f"{name} has shape {array.shape} and type {array.dtype}, not {shape} and {np.dtype(kind)}"
        if not np.isfinite(array).all():
            return f"{name} holds something other than numbers"
    if not (arrays["channel_steps"] > 0).all():
        return "channel_steps are not positive"
    return None if (np.diff(arrays["cuts"], axis=-1) > 0).all() else "cuts do not rise"
