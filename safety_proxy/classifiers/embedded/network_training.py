"""How the network is learnt: stochastic gradient descent (Adam) in numpy, seeded, one thread.

Only the network learns; the vectors of the pieces stay as they are. Texts of a batch lie end to end with a gap
between, so nothing is spent on padding.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import numpy.typing as npt

from safety_proxy.classifiers.embedded.network import MEAN_WEIGHT, REACH, SHORT, Matrix, Network, steps_for
from safety_proxy.classifiers.embedded.wordpiece import Ids, Tokens

_BETA: Final = (0.9, 0.999)
_EPSILON: Final = 1e-8


@dataclass(frozen=True, slots=True)
class Schedule:
    """How long and how fast the network learns; chosen on development rows."""

    channels: int = 192
    samples: int = 700_000
    """Rows that are looked at, drawn by weight, most of them several times."""
    batch: int = 64
    rate: float = 2e-3
    """Highest learning rate; it rises over the first tenth and then falls to nothing."""
    drop: float = 0.3
    """Share of the inputs, and of the pooled numbers, that are left out at random."""
    longest: int = 256
    """Pieces of a text that are looked at together; of a longer text a stretch drawn at random."""
    surrounded: float = 0.3
    """Share of the rows that are laid between stretches of harmless rows: harm is often one sentence of many."""
    surroundings: int = 80
    """Pieces of such stretches, at most: about the window of a stream."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows laid end to end."""

    inputs: Matrix
    """(pieces, REACH * width): each piece's vector with its neighbours'"""
    starts: npt.NDArray[np.intp]
    counts: npt.NDArray[np.intp]
    labels: npt.NDArray[np.int8]
    """(rows, heads): 0, 1, or -1 for not known"""


def learn(
    texts: Sequence[Ids],
    labels: npt.NDArray[np.int8],
    weights: npt.NDArray[np.float64],
    tokens: Tokens,
    positive: Sequence[float],
    schedule: Schedule,
    seed: int,
) -> Network:
    """A network for *labels* ((rows, heads): 0, 1, -1) of *texts*.

    A row is drawn in proportion to its weight; a positive label counts *positive* times as much as a negative one.
    """
    rng = np.random.default_rng(seed)
    network = _start(tokens.vectors.shape[1], schedule.channels, labels.shape[1], rng)
    state = {name: (np.zeros_like(value), np.zeros_like(value)) for name, value in _parameters(network).items()}
    steps = max(schedule.samples // schedule.batch, 1)
    for step, batch in enumerate(_batches(texts, labels, weights, tokens, schedule, steps, rng), 1):
        gradients = gradient(network, batch, np.array(positive, np.float32), schedule.drop, rng)
        _move(network, state, gradients, _rate(schedule.rate, step, steps), step)
    return replace(network, steps=steps_for(network, tokens))


def _start(width: int, channels: int, heads: int, rng: np.random.Generator) -> Network:
    def uniform(rows: int, columns: int) -> Matrix:
        bound = 1 / np.sqrt(rows)
        return rng.uniform(-bound, bound, (rows, columns)).astype(np.float32)

    kernel, output = uniform(REACH * width, channels), uniform(2 * channels, heads)
    zeros = np.zeros(channels, np.float32)
    return Network(kernel, zeros, output, np.zeros(heads, np.float32), steps=np.ones_like(zeros))


def _parameters(network: Network) -> dict[str, Matrix]:
    return {name: getattr(network, name) for name in ("kernel", "bias", "output", "output_bias")}


def _rate(highest: float, step: int, steps: int) -> float:
    rising = step / max(steps * 0.1, 1)
    falling = (steps - step + 1) / max(steps * 0.9, 1)
    return highest * min(rising, falling, 1.0)


def _batches(
    texts: Sequence[Ids],
    labels: npt.NDArray[np.int8],
    weights: npt.NDArray[np.float64],
    tokens: Tokens,
    schedule: Schedule,
    steps: int,
    rng: np.random.Generator,
) -> Iterator[Batch]:
    vectors = np.zeros((len(tokens.vectors) + 1, tokens.vectors.shape[1]), np.float32)
    vectors[:-1] = tokens.vectors.astype(np.float32) * np.float32(tokens.scale)
    harmless = np.flatnonzero((labels == 0).all(axis=1))
    drawn = rng.choice(len(texts), size=(steps, schedule.batch), p=weights / weights.sum())
    for rows in drawn:
        chosen = [_stretch(texts[row], schedule.longest, rng) for row in rows]
        for place in np.flatnonzero(rng.random(len(rows)) < schedule.surrounded) if len(harmless) else ():
            chosen[place] = _surrounded(chosen[place], [texts[row] for row in rng.choice(harmless, 2)], schedule, rng)
        yield lay_out(chosen, labels[rows], vectors)


def _stretch(ids: Ids, longest: int, rng: np.random.Generator) -> Ids:
    if len(ids) <= longest:
        return ids
    start = int(rng.integers(0, len(ids) - longest + 1))
    return ids[start : start + longest]


def _surrounded(ids: Ids, harmless: Sequence[Ids], schedule: Schedule, rng: np.random.Generator) -> Ids:
    """*ids* between the end of one harmless text and the beginning of another."""
    room = int(rng.integers(0, min(schedule.surroundings, schedule.longest - len(ids)) + 1))
    before = int(rng.integers(0, room + 1))
    first, second = harmless
    return np.concatenate([first[len(first) - min(before, len(first)) :], ids, second[: room - before]])


def lay_out(texts: Sequence[Ids], labels: npt.NDArray[np.int8], vectors: Matrix) -> Batch:
    """The batch of *texts*; the last row of *vectors* is the gap between two of them."""
    gap = np.array([len(vectors) - 1], np.intp)
    filled = [ids if len(ids) else gap for ids in texts]
    counts = np.array([len(ids) for ids in filled], np.intp)
    joined = np.concatenate([part for ids in filled for part in (gap, ids)] + [gap])
    starts = np.cumsum(counts + 1) - counts
    at = np.repeat(starts - np.cumsum(counts) + counts, counts) + np.arange(counts.sum())
    inputs = np.concatenate([vectors[joined[at + shift]] for shift in (-1, 0, 1)], axis=1)
    return Batch(inputs, np.cumsum(counts) - counts, counts, labels)


def gradient(network: Network, batch: Batch, positive: Matrix, drop: float, rng: np.random.Generator) -> dict[str, Matrix]:
    """The gradient of the batch's loss: cross entropy of the known labels, summed over heads, mean over rows."""
    inputs = batch.inputs
    if drop:
        inputs = inputs * _mask(inputs.shape, drop, rng)
    hidden = np.maximum(inputs @ network.kernel + network.bias, 0)
    greatest = np.maximum.reduceat(hidden, batch.starts, axis=0)
    share = (MEAN_WEIGHT / (batch.counts + SHORT)).astype(np.float32)[:, None]
    mean = np.add.reduceat(hidden, batch.starts, axis=0) * share
    mask = _mask((len(batch.counts), 2 * hidden.shape[1]), drop, rng)
    pooled = np.concatenate([greatest, mean], axis=1) * mask
    error = _error(pooled @ network.output + network.output_bias, batch.labels, positive)
    back = (error @ network.output.T) * mask
    to_greatest, to_mean = np.split(back, 2, axis=1)
    # The greatest number alone answers for its part; where it is 0 nothing does.
    is_greatest = hidden == np.repeat(greatest, batch.counts, axis=0)
    to_hidden = np.repeat(to_mean * share, batch.counts, axis=0) + is_greatest * np.repeat(to_greatest, batch.counts, axis=0)
    to_hidden *= hidden > 0
    return {
        "kernel": inputs.T @ to_hidden,
        "bias": to_hidden.sum(axis=0),
        "output": pooled.T @ error,
        "output_bias": error.sum(axis=0),
    }


def _mask(shape: tuple[int, ...], drop: float, rng: np.random.Generator) -> Matrix:
    if not drop:
        return np.ones(shape, np.float32)
    return (rng.random(shape, np.float32) >= drop) * np.float32(1 / (1 - drop))


def _error(logits: Matrix, labels: npt.NDArray[np.int8], positive: Matrix) -> Matrix:
    """What the loss changes by for each logit."""
    expected = 1 / (1 + np.exp(-np.clip(logits, -30, 30)))
    error = np.where(labels == 1, positive * (expected - 1), np.where(labels == 0, expected, 0))
    return (error / len(labels)).astype(np.float32)


def _move(
    network: Network, state: dict[str, tuple[Matrix, Matrix]], gradients: dict[str, Matrix], rate: float, step: int
) -> None:
    """One step of Adam (Kingma & Ba 2015); changes the network's arrays in place."""
    first, second = _BETA
    for name, value in _parameters(network).items():
        mean, square = state[name]
        mean += (1 - first) * (gradients[name] - mean)
        square += (1 - second) * (gradients[name] ** 2 - square)
        change = mean / (1 - first**step) / (np.sqrt(square / (1 - second**step)) + _EPSILON)
        np.subtract(value, np.float32(rate) * change, out=value)
