"""Make a model file from labelled rows: ``python -m safety_proxy.classifiers.embedded.train --data DIR --out FILE``.

*DIR* holds ``train.jsonl.gz`` and ``dev.jsonl.gz`` (see `rows`). Weights are learnt from the first, calibration and
cut-offs from the second. The run uses one thread, is seeded, and gives the same bytes every time on one platform. It
needs scikit-learn (the extra ``train``).
"""

from __future__ import annotations

import argparse
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from scipy import sparse
from sklearn.linear_model import LogisticRegression

from safety_proxy.classifiers.embedded.calibration import FALSE_POSITIVES, calibrate
from safety_proxy.classifiers.embedded.contrast import SOURCE, contrast_rows
from safety_proxy.classifiers.embedded.features import Recipe, distinct, ngrams, prepare
from safety_proxy.classifiers.embedded.model import HEADS, Floats, Model, describe
from safety_proxy.classifiers.embedded.rows import Row, benign_sources, labels, read_rows, sha256

SEED: Final = 20240917
SLICES: Final = {300: 3, 90: 8}
"""Length of the pieces of a long benign text that are learnt as rows of their own, and the most pieces of one text:
streams are judged in pieces like the first, and long texts in windows like the second."""
CONTRAST_WEIGHT: Final = 4.0
"""How often a contrast row counts: there are few of them."""


@dataclass(frozen=True, slots=True)
class Choice:
    """How one head is learnt; chosen on the development rows."""

    c: float
    """Inverse strength of regularisation. Noisy labels want a small one."""
    naive_bayes: bool = False
    """Multiply each feature by its log-count ratio first (Wang & Manning 2012)."""
    window_share: float = 0.75
    """How much the best window of a long text counts, against the whole."""


CHOICES: Final = {
    "hate": Choice(3, naive_bayes=True),
    "harassment": Choice(20),
    "sexual": Choice(3, naive_bayes=True, window_share=0.5),
    "violence": Choice(8),
    "self_harm": Choice(20),
    "jailbreak": Choice(20, window_share=0.5),
    "indirect_attack": Choice(20, window_share=0.5),
}

_NOTICE: Final = (
    "Trained on rows under CC0-1.0, MIT, Apache-2.0, CC-BY-4.0 and CC-BY-3.0; sources and authors are listed in"
    " docs/model-card.md. The rows themselves are not part of this file."
)


def slices(rows: Sequence[Row], sources: frozenset[str]) -> list[Row]:
    """Pieces of the long texts of benign *sources*, cut as a stream would cut them: anywhere."""
    return [
        replace(row, text=row.text[start : start + size])
        for row in rows
        if row.source in sources
        for size, most in SLICES.items()
        for start in range(size, len(row.text) - size, size)[:most]
    ]


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
    learner = LogisticRegression(C=choice.c, solver="liblinear", tol=1e-3, random_state=SEED)
    learner.fit(used @ sparse.diags(ratio) if choice.naive_bayes else used, wanted, sample_weight=counts[known >= 0])
    return learner.coef_[0] * ratio, float(learner.intercept_[0])


def _log_count_ratio(matrix: sparse.csr_matrix, wanted: npt.NDArray[np.int8]) -> Floats:
    present = matrix.sign()
    found, absent = (1 + np.asarray(present[wanted == value].sum(axis=0)).ravel() for value in (1, 0))
    return np.asarray(np.log((found / found.sum()) / (absent / absent.sum())))


def train(learnt: Sequence[Row], tuned: Sequence[Row], recipe: Recipe, provenance: dict[str, Any]) -> Model:
    """A model whose weights come from the rows *learnt* and whose calibration and cut-offs come from those *tuned*."""
    benign = benign_sources(learnt, tuned)
    rows = [*learnt, *contrast_rows(SEED), *slices(learnt, benign)]
    matrix = featurise(rows, recipe)
    counts = np.array([CONTRAST_WEIGHT if row.source == SOURCE else 1.0 for row in rows])
    weights = np.zeros((1 << recipe.bits, len(HEADS)))
    biases = np.zeros(len(HEADS))
    for column, head in enumerate(HEADS):
        weights[:, column], biases[column] = fit(matrix, labels(rows, head), counts, CHOICES[head])
    scales = np.maximum(np.abs(weights).max(axis=0), 1e-6) / 127
    model = Model(
        weights=np.rint(weights / scales).astype(np.int8),
        scales=scales.astype(np.float32),
        biases=biases.astype(np.float32),
        window_shares=np.array([CHOICES[head].window_share for head in HEADS], np.float32),
        calibration=np.tile(np.array([1, 0], np.float32), (len(HEADS), 1)),
        cuts=np.tile(np.array([0, 1, 2], np.float32), (len(HEADS), 1)),
        metadata=describe(recipe)
        | {
            "false_positives": dict(FALSE_POSITIVES),
            "notice": _NOTICE,
            "sources": _sources(rows),
            "training": {head: asdict(choice) for head, choice in CHOICES.items()} | {"contrast_weight": CONTRAST_WEIGHT},
        }
        | provenance,
    )
    return calibrate(model, tuned, benign)


def _sources(rows: Sequence[Row]) -> list[dict[str, str | int]]:
    counts = Counter((row.source, row.licence) for row in rows)
    return [{"source": source, "licence": licence, "rows": count} for (source, licence), count in sorted(counts.items())]


def main(arguments: Sequence[str] | None = None) -> None:
    """Train from the command line; prints how long it took and what was written."""
    parser = argparse.ArgumentParser(
        prog="python -m safety_proxy.classifiers.embedded.train", description="Train the model."
    )
    parser.add_argument("--data", type=Path, required=True, help="folder with train.jsonl.gz and dev.jsonl.gz")
    parser.add_argument("--out", type=Path, required=True, help="model file to write (.npz)")
    parser.add_argument("--bits", type=int, default=Recipe().bits, help="2 ** BITS buckets (default %(default)s)")
    options = parser.parse_args(arguments)
    files = [options.data / f"{name}.jsonl.gz" for name in ("train", "dev")]
    began = time.monotonic()
    learnt, tuned = (read_rows(file) for file in files)
    model = train(learnt, tuned, Recipe(bits=options.bits), {"data": {file.name: sha256(file) for file in files}})
    model.save(options.out)
    size = options.out.stat().st_size
    print(f"{len(learnt)} + {len(tuned)} rows, {time.monotonic() - began:.0f} s, {size} bytes written to {options.out}")


if __name__ == "__main__":
    main()
