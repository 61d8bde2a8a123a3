"""A small network over the vectors of a text's pieces: it sees which words stand side by side.

Three neighbouring vectors become *c* numbers (a convolution), negative ones become 0, the greatest and the mean of each
over the text go into one linear head for each thing that is looked for.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt

from safety_proxy.classifiers.embedded.wordpiece import Ids, Tokens

Matrix: TypeAlias = "npt.NDArray[np.float32]"

REACH: Final = 3
"""Neighbouring pieces that are seen together."""
BLOCK: Final = 12
"""Pieces in half a segment; a longer text than a segment is scored as a whole and in segments, half overlapping."""
SHORT: Final = 8.0
"""Pieces that a text is taken to have more than it has when the mean is built: little text, little certainty."""
_AT_A_TIME: Final = 4096
MEAN_WEIGHT: Final = 3.0
"""The mean is this many times as large as it is, to be of the size of the greatest."""


@dataclass(frozen=True, eq=False)
class Network:
    """What was learnt. Immutable; may be used by several threads at once."""

    kernel: Matrix
    """(REACH * width of a vector, c)"""
    bias: Matrix
    """(c)"""
    output: Matrix
    """(2 * c, heads): first for the greatest, then for the mean"""
    output_bias: Matrix
    """(heads)"""
    steps: Matrix
    """(c): what one step of the integers of a `Reader` stands for; all ones while the network learns"""


def steps_for(network: Network, tokens: Tokens) -> Matrix:
    """The finest steps with which everything that a `Reader` of *network* adds up fits into int8."""
    peaks = np.abs(network.bias)
    for kernel in np.split(network.kernel, REACH):
        peaks = np.maximum(peaks, np.abs(tokens.vectors.astype(np.float32) @ kernel).max(axis=0) * np.float32(tokens.scale))
    return (np.maximum(peaks, 1e-6) / 127).astype(np.float32)


@dataclass(frozen=True, eq=False)
class Reader:
    """A network made ready for one vocabulary: what each piece adds to each of the *c* numbers is worked out once.

    What is added up are integers, so their sum depends on no order and on no machine.
    """

    network: Network
    tokens: Tokens
    _parts: tuple[npt.NDArray[np.int8], ...] = field(init=False, repr=False)
    """For each of the places: what a piece there adds, (pieces + 1, c); the last row adds nothing."""
    _bias: npt.NDArray[np.int16] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        steps = self.network.steps
        kernels = np.split(self.network.kernel * (np.float32(self.tokens.scale) / steps), REACH)
        parts = tuple(np.zeros((len(self.tokens.vectors) + 1, len(steps)), np.int8) for _ in kernels)
        # Some pieces at a time: all of them in float32 would be ten times what is kept.
        for start in range(0, len(self.tokens.vectors), _AT_A_TIME):
            vectors = self.tokens.vectors[start : start + _AT_A_TIME].astype(np.float32)
            for part, kernel in zip(parts, kernels, strict=True):
                part[start : start + len(vectors)] = _rounded(vectors @ kernel)
        object.__setattr__(self, "_parts", parts)
        object.__setattr__(self, "_bias", _rounded(self.network.bias / steps).astype(np.int16))

    def scores(self, ids: Ids, shares: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """The logit of each head for a text of the pieces *ids*; *shares* (heads) is how much the best segment counts.

        Linear time.
        """
        hidden = self._hidden(ids)
        greatest, total = hidden.max(axis=1), hidden.sum(axis=1, dtype=np.int32)
        counts = np.full(len(hidden), BLOCK)
        counts[-1] = len(ids) - BLOCK * (len(hidden) - 1)
        whole = self._head(greatest.max(axis=0, keepdims=True), total.sum(axis=0, keepdims=True), counts.sum(keepdims=True))[
            0
        ]
        if len(hidden) <= 2:  # noqa: PLR2004 - one segment
            return np.asarray(whole)
        best = self._head(np.maximum(greatest[1:], greatest[:-1]), total[1:] + total[:-1], counts[1:] + counts[:-1]).max(
            axis=0
        )
        return np.asarray((1 - shares) * whole + shares * best)

    def contributions(self, ids: Ids) -> npt.NDArray[np.float64]:
        """What each piece with its neighbours adds to the logit of each head for the text as a whole: (pieces, heads)."""
        hidden = self._hidden(ids).reshape(-1, len(self._bias))[: len(ids)] * self.network.steps
        for_greatest, for_mean = np.split(self.network.output.astype(np.float64), 2)
        added = hidden @ for_mean * (MEAN_WEIGHT / (len(ids) + SHORT))
        np.add.at(added, hidden.argmax(axis=0), hidden.max(axis=0)[:, None] * for_greatest)
        return np.asarray(added)

    def _hidden(self, ids: Ids) -> npt.NDArray[np.int16]:
        """What each piece with its neighbours brings about, in blocks: (blocks, BLOCK, c); 0 behind the last piece."""
        blocks = max(-(-len(ids) // BLOCK), 1)
        padded = np.full(blocks * BLOCK + 2, len(self._parts[0]) - 1, np.intp)
        padded[1 : len(ids) + 1] = ids
        before, at, after = (
            part.take(padded[place : place + blocks * BLOCK], axis=0) for place, part in enumerate(self._parts)
        )
        hidden = np.add(before, at, dtype=np.int16)
        hidden += after
        hidden += self._bias
        np.maximum(hidden, 0, out=hidden)
        hidden[len(ids) :] = 0
        return hidden.reshape(blocks, BLOCK, -1)

    def _head(
        self, greatest: npt.NDArray[np.int16], total: npt.NDArray[np.int32], count: npt.NDArray[np.intp]
    ) -> npt.NDArray[np.float64]:
        mean = total * (MEAN_WEIGHT / (count + SHORT)).astype(np.float32)[:, None]
        pooled = np.concatenate([greatest * self.network.steps, mean * self.network.steps], axis=1)
        return (pooled @ self.network.output + self.network.output_bias).astype(np.float64)


def _rounded(numbers: Matrix) -> npt.NDArray[np.int8]:
    return np.clip(np.rint(numbers, out=numbers), -127, 127, out=numbers).astype(np.int8)
