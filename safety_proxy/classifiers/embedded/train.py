"""Make a model file from labelled rows: ``python -m safety_proxy.classifiers.embedded.train --data DIR [--out FILE]``.

*DIR* holds ``train.jsonl.gz`` and ``dev.jsonl.gz`` (see `rows`). Weights are learnt from the first and from the rows
in ``authored/``, calibration and cut-offs from the second and from a tenth of those. The run is seeded, uses one thread
for the n-grams and one for the network, and gives the same bytes every time on one platform. It needs scikit-learn (the
extra ``train``).
"""

from __future__ import annotations

import argparse
import random
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from scipy import sparse
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits

from safety_proxy.classifiers.embedded.calibration import FALSE_POSITIVES, calibrate
from safety_proxy.classifiers.embedded.features import Recipe, distinct, ngrams, prepare
from safety_proxy.classifiers.embedded.model import HEADS, Floats, Model, describe
from safety_proxy.classifiers.embedded.network import Network
from safety_proxy.classifiers.embedded.network_training import Schedule, learn
from safety_proxy.classifiers.embedded.rows import (
    AUTHORED,
    Row,
    authored_rows,
    benign_sources,
    labels,
    read_rows,
    sha256,
)
from safety_proxy.classifiers.embedded.wordpiece import Tokens

SEED: Final = 20240917
SLICES: Final = {300: 3, 90: 8}
"""Length of the pieces of a long benign text that are learnt as rows of their own, and the most pieces of one text:
streams are judged in pieces like the first, and long texts in windows like the second."""
SLICED: Final = "slices"
"""Group of such pieces."""
SURROUNDED: Final = "surrounded"
"""Group of short texts that are laid into harmless ones, for the n-grams; the network sees such by itself."""
SURROUNDINGS: Final = 300
"""Characters of such a text altogether: the window of a stream."""


@dataclass(frozen=True, slots=True)
class Weights:
    """How often a row counts: our own rows are few, and cover more kinds of text than all others."""

    ngrams: float
    network: float


OWN: Final = Weights(ngrams=6.0, network=12.0)
PIECES: Final = Weights(ngrams=1.0, network=0.3)
LAID_IN: Final = Weights(ngrams=2.0, network=0.0)
OTHERS: Final = Weights(ngrams=1.0, network=1.0)


@dataclass(frozen=True, slots=True)
class Choice:
    """How one head is learnt; chosen on development rows."""

    c: float
    """Inverse strength of regularisation. Noisy labels want a small one."""
    naive_bayes: bool = False
    """Multiply each feature by its log-count ratio first (Wang & Manning 2012)."""
    positive: float = 1.0
    """How much more a positive row counts than a negative one when the network learns."""


CHOICES: Final = {
    "hate": Choice(3, naive_bayes=True),
    "harassment": Choice(20),
    "sexual": Choice(3, naive_bayes=True, positive=2),
    "violence": Choice(8, positive=2),
    "self_harm": Choice(20, positive=4),
    "jailbreak": Choice(20, positive=2),
    "indirect_attack": Choice(20, positive=3),
}

WINDOW_SHARES: Final = (0.3, 1.0)
"""How much the best window of a text counts, against the whole: of a text, of a window of a stream."""

_NOTICE: Final = (
    "Trained on rows under CC0-1.0, MIT, Apache-2.0, CC-BY-4.0 and CC-BY-3.0, over token vectors derived from"
    " all-MiniLM-L6-v2 (Apache-2.0); sources and authors are listed in docs/model-card.md. The rows of others are not part"
    " of this file."
)


def slices(rows: Sequence[Row], sources: frozenset[str]) -> list[Row]:
    """Pieces of the long texts of benign *sources* and of our own harmless ones, cut as streams cut them: anywhere."""
    return [
        replace(row, text=row.text[start : start + size], group=SLICED)
        for row in rows
        if row.source in sources or (row.source.startswith(AUTHORED) and all(row.label(head) == 0 for head in HEADS))
        for size, most in SLICES.items()
        for start in range(size, len(row.text) - size, size)[:most]
    ]


def surrounded(rows: Sequence[Row], pieces: Sequence[Row]) -> list[Row]:
    """Our own short texts, each at some place of a harmless piece, so that both together are as long as a window."""
    draw = random.Random(SEED)  # noqa: S311 - a sample, not a secret
    long = [piece.text for piece in pieces if len(piece.text) >= SURROUNDINGS]
    short = [row for row in rows if row.source.startswith(AUTHORED) and len(row.text) < SURROUNDINGS * 2 // 3]
    laid = []
    for row in short if long else ():
        around, room = draw.choice(long), SURROUNDINGS - len(row.text)
        at = draw.randint(0, room)
        laid.append(replace(row, text=f"{around[:at]} {row.text} {around[at:room]}", group=SURROUNDED))
    return laid


def featurise(rows: Sequence[Row], recipe: Recipe) -> sparse.csr_matrix:
    """One line for each row, of length 1: each n-gram that occurs has the same value."""
    lines = [distinct([family.buckets for family in ngrams(prepare(row.text), recipe)]) for row in rows]
    counts = np.array([len(line) for line in lines])
    values = np.repeat(1 / np.sqrt(np.maximum(counts, 1)), counts)
    bounds = np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)
    return sparse.csr_matrix((values, np.concatenate(lines).astype(np.int32), bounds), shape=(len(rows), 1 << recipe.bits))


def fit(matrix: sparse.csr_matrix, known: npt.NDArray[np.int8], counts: Floats, choice: Choice) -> tuple[Floats, float]:
    """Weights and bias of one head; rows of label -1 are left out, the others count as often as *counts* says.

    If the rows do not hold both labels, all weights are zero.
    """
    used = matrix[known >= 0]
    wanted = known[known >= 0]
    if len(np.unique(wanted)) < 2:  # noqa: PLR2004 - both labels
        return np.zeros(matrix.shape[1]), -1.0
    ratio = _log_count_ratio(used, wanted) if choice.naive_bayes else np.ones(matrix.shape[1])
    learner = LogisticRegression(C=choice.c, solver="liblinear", tol=1e-2, random_state=SEED)
    learner.fit(used @ sparse.diags(ratio) if choice.naive_bayes else used, wanted, sample_weight=counts[known >= 0])
    return learner.coef_[0] * ratio, float(learner.intercept_[0])


def _log_count_ratio(matrix: sparse.csr_matrix, wanted: npt.NDArray[np.int8]) -> Floats:
    present = matrix.sign()
    found, absent = (1 + np.asarray(present[wanted == value].sum(axis=0)).ravel() for value in (1, 0))
    return np.asarray(np.log((found / found.sum()) / (absent / absent.sum())))


def _weights(row: Row) -> Weights:
    if row.group in {SLICED, SURROUNDED}:
        return PIECES if row.group == SLICED else LAID_IN
    return OWN if row.source.startswith(AUTHORED) else OTHERS


def train(
    learnt: Sequence[Row],
    tuned: Sequence[Row],
    tokens: Tokens,
    provenance: dict[str, Any],
    recipe: Recipe = Recipe(),  # noqa: B008 - frozen
    schedule: Schedule = Schedule(),  # noqa: B008 - frozen
) -> Model:
    """A model whose weights come from the rows *learnt* and whose calibration and cut-offs come from those *tuned*."""
    benign = benign_sources(learnt, tuned)
    pieces = slices(learnt, benign)
    rows = [*learnt, *pieces, *surrounded(learnt, pieces)]
    counts = [_weights(row) for row in rows]
    with threadpool_limits(1), ThreadPoolExecutor(1) as second:
        network = second.submit(_learn_network, rows, np.array([count.network for count in counts]), tokens, schedule)
        weights, biases = _fit_heads(rows, np.array([count.ngrams for count in counts]), recipe)
        model = _assemble(weights, biases, network.result(), tokens, recipe)
        model = replace(
            model,
            metadata=dict(model.metadata)
            | {
                "false_positives": FALSE_POSITIVES,
                "notice": _NOTICE,
                "sources": _sources(rows),
                "training": {head: asdict(choice) for head, choice in CHOICES.items()}
                | {
                    "network": asdict(schedule),
                    "own_rows": asdict(OWN),
                    "pieces": asdict(PIECES),
                    "laid_in": asdict(LAID_IN),
                },
            }
            | provenance,
        )
        return calibrate(model, tuned, benign)


def _learn_network(rows: Sequence[Row], counts: Floats, tokens: Tokens, schedule: Schedule) -> Network:
    texts = [tokens.ids(prepare(row.text)) for row in rows]
    known = np.stack([labels(rows, head) for head in HEADS], axis=1)
    return learn(texts, known, counts, tokens, [CHOICES[head].positive for head in HEADS], schedule, SEED)


def _fit_heads(rows: Sequence[Row], counts: Floats, recipe: Recipe) -> tuple[Floats, Floats]:
    matrix = featurise(rows, recipe)
    fitted = [fit(matrix, labels(rows, head), counts, CHOICES[head]) for head in HEADS]
    return np.stack([weights for weights, _ in fitted], axis=1), np.array([bias for _, bias in fitted])


def _assemble(weights: Floats, biases: Floats, network: Network, tokens: Tokens, recipe: Recipe) -> Model:
    scales = np.maximum(np.abs(weights).max(axis=0), 1e-6) / 127
    return Model(
        weights=np.rint(weights / scales).astype(np.int8),
        scales=scales.astype(np.float32),
        biases=biases.astype(np.float32),
        window_shares=np.tile(np.array(WINDOW_SHARES, np.float32)[:, None], (1, len(HEADS))),
        kernel=network.kernel,
        channel_bias=network.bias,
        channel_steps=network.steps,
        output=network.output,
        output_bias=network.output_bias,
        calibration=np.tile(np.array([1, 0], np.float32), (len(HEADS), 1)),
        cuts=np.tile(np.array([0, 1, 2], np.float32), (2, len(HEADS), 1)),
        metadata=describe(recipe) | {"tokens": tokens.digest},
        tokens=tokens,
    )


def _sources(rows: Sequence[Row]) -> list[dict[str, str | int]]:
    counts = Counter((row.source, row.licence) for row in rows)
    return [{"source": source, "licence": licence, "rows": count} for (source, licence), count in sorted(counts.items())]


def main(arguments: Sequence[str] | None = None) -> None:
    """Train from the command line; prints how long it took and what was written."""
    parser = argparse.ArgumentParser(
        prog="python -m safety_proxy.classifiers.embedded.train", description="Train the model."
    )
    parser.add_argument("--data", type=Path, required=True, help="folder with train.jsonl.gz and dev.jsonl.gz")
    parser.add_argument("--out", type=Path, default=Path("model.npz"), help="model file to write (default %(default)s)")
    parser.add_argument("--without-own", action="store_true", help="leave out the rows written for this project")
    parser.add_argument("--bits", type=int, default=Recipe().bits, help="2 ** BITS buckets (default %(default)s)")
    parser.add_argument(
        "--samples", type=int, default=Schedule().samples, help="rows that the network looks at (default %(default)s)"
    )
    options = parser.parse_args(arguments)
    began = time.monotonic()
    files = [options.data / f"{name}.jsonl.gz" for name in ("train", "dev")]
    learnt, tuned = (read_rows(file) for file in files)
    if not options.without_own:
        for rows, own in zip((learnt, tuned), authored_rows(), strict=True):
            rows.extend(own)
    model = train(
        learnt,
        tuned,
        Tokens.load(),
        {"data": {file.name: sha256(file) for file in files}},
        Recipe(bits=options.bits),
        Schedule(samples=options.samples),
    )
    model.save(options.out)
    size = options.out.stat().st_size
    print(f"{len(learnt)} + {len(tuned)} rows, {time.monotonic() - began:.0f} s, {size} bytes written to {options.out}")


if __name__ == "__main__":
    main()
