"""Measure a model on labelled rows: ``python -m safety_proxy.classifiers.embedded.evaluate --data FILE [--model FILE]``.

Prints, for each head, average precision (AUPRC), ROC-AUC, recall at the cuts and at 1 % false positives, and the rank
correlation of known severities with the level given (``rank+``: positive rows alone; ``rank0+``: rows of label 0 count as
severity 0); then the false positives on benign text by source and in stream windows; then the time taken.
"""

from __future__ import annotations

import argparse
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt

from safety_proxy.classifiers.embedded.model import HEADS, Floats, Model
from safety_proxy.classifiers.embedded.rows import Row, benign_sources, labels, read_rows, stream_windows
from safety_proxy.model import Severity

HARM_COLUMNS: Final = 5
"""The first five heads are harms, the others attacks."""
LONG: Final = 1000
"""Characters from which on a text counts as a long completion."""

_Labels: TypeAlias = "npt.NDArray[np.int8]"


def average_precision(wanted: _Labels, scores: Floats) -> float:
    """Area under the precision-recall curve, by steps; equal scores count as one step. NaN without a positive."""
    if not (wanted == 1).any():
        return float("nan")
    order = np.argsort(-scores, kind="stable")
    hits = np.cumsum(wanted[order] == 1)
    steps = np.append(np.flatnonzero(np.diff(scores[order])), len(order) - 1)
    recall = np.concatenate([[0.0], hits[steps] / hits[-1]])
    return float((np.diff(recall) * hits[steps] / (steps + 1)).sum())


def _ranks(values: Floats) -> Floats:
    """Ranks from 1 on; equal values share the mean of theirs."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    return np.asarray((ends - (counts - 1) / 2)[inverse])


def roc_auc(wanted: _Labels, scores: Floats) -> float:
    """The chance that a positive row scores above a negative one. NaN if either is missing."""
    positives = int((wanted == 1).sum())
    negatives = len(wanted) - positives
    if not positives or not negatives:
        return float("nan")
    return float((_ranks(scores)[wanted == 1].sum() - positives * (positives + 1) / 2) / (positives * negatives))


def rank_correlation(left: Floats, right: Floats) -> float:
    """Spearman's rank correlation. NaN if either side is constant."""
    if len(left) < 2 or len(np.unique(left)) < 2 or len(np.unique(right)) < 2:  # noqa: PLR2004 - nothing to correlate
        return float("nan")
    return float(np.corrcoef(_ranks(left), _ranks(right))[0, 1])


def recall_at(wanted: _Labels, scores: Floats, share: float) -> float:
    """Share of positive rows above the score that *share* of the negative rows reach."""
    if not (wanted == 1).any() or not (wanted == 0).any():
        return float("nan")
    return float((scores[wanted == 1] > np.quantile(scores[wanted == 0], 1 - share, method="higher")).mean())


def _by_head(model: Model, rows: Sequence[Row], scores: Floats, levels: npt.NDArray[np.intp]) -> Iterator[str]:
    yield (
        f"{'head':<16}{'rows':>6}{'pos.':>6}{'AUPRC':>7}{'AUC':>7}{'rec>=2':>8}{'rec>=4':>8}{'rec>=6':>8}{'rec@1%':>8}{'rank+':>7}{'rank0+':>7}"
    )
    for column, head in enumerate(HEADS):
        known = labels(rows, head)
        used, found = known >= 0, known == 1
        recalls = [
            float((levels[found, column] >= level).mean()) if found.any() else float("nan")
            for level in (Severity.LOW, Severity.MEDIUM, Severity.HIGH)
        ]
        severity = np.array([row.severity.get(head, 0 if row.label(head) == 0 else -1) for row in rows], np.float64)
        ranks = [
            rank_correlation(severity[graded], levels[graded, column].astype(np.float64))
            for graded in (severity > 0, severity >= 0)
        ]
        yield (
            f"{head:<16}{used.sum():>6}{found.sum():>6}{average_precision(known[used], scores[used, column]):>7.3f}"
            f"{roc_auc(known[used], scores[used, column]):>7.3f}{recalls[0]:>8.3f}{recalls[1]:>8.3f}{recalls[2]:>8.3f}"
            f"{recall_at(known[used], scores[used, column], 0.01):>8.3f}"
            f"{ranks[0]:>7.3f}{ranks[1]:>7.3f}"
        )
    harms = np.stack([labels(rows, head) for head in HEADS[:HARM_COLUMNS]])
    used = (harms >= 0).all(axis=0) | (harms == 1).any(axis=0)
    unsafe = (harms == 1).any(axis=0).astype(np.int8)[used]
    together = 1 - np.prod(1 - np.array([model.probabilities(row)[:HARM_COLUMNS] for row in scores]), axis=1)[used]
    yield (
        f"{'any harm':<16}{used.sum():>6}{unsafe.sum():>6}{average_precision(unsafe, together):>7.3f}"
        f"{roc_auc(unsafe, together):>7.3f}{'':>24}{recall_at(unsafe, together, 0.01):>8.3f}"
    )


def _on_benign(model: Model, rows: Sequence[Row], levels: npt.NDArray[np.intp]) -> Iterator[str]:
    sources = benign_sources(rows)
    flagged = (levels[:, :HARM_COLUMNS].max(axis=1) >= Severity.MEDIUM).tolist()
    yield f"\n{'benign source, harm at level 4 or above':<64}{'rows':>6}{'flagged':>9}{'share':>8}"
    total: Counter[str] = Counter(row.source for row in rows if row.source in sources)
    wrong: Counter[str] = Counter(
        row.source for row, bad in zip(rows, flagged, strict=True) if bad and row.source in sources
    )
    for source, count in sorted(total.items()):
        yield f"{source[:63]:<64}{count:>6}{wrong[source]:>9}{wrong[source] / count:>8.4f}"
    if total:
        yield f"{'together':<64}{total.total():>6}{wrong.total():>9}{wrong.total() / total.total():>8.4f}"
    for least in (0, LONG):
        windows = [
            model.levels(model.scores(text, open_left=left, open_right=right))[:HARM_COLUMNS]
            for row in rows
            if row.source in sources and len(row.text) >= least
            for text, left, right in stream_windows(row.text)
        ]
        bad = sum(max(window) >= Severity.MEDIUM for window in windows)
        name = f"stream windows of benign texts of {least} characters and more"
        yield f"{name:<64}{len(windows):>6}{bad:>9}{bad / max(len(windows), 1):>8.4f}"


def _speed(model: Model) -> Iterator[str]:
    yield "\ncharacters   ms a text   ms per 1,000 characters (median of 30)"
    for length in (100, 300, 1_000, 10_000, 100_000):
        text = ("The train to the coast leaves at nine; bring a coat, some bread, and the map of 1987. " * 1200)[:length]
        times = []
        for _ in range(30 if length < 100_000 else 5):  # noqa: PLR2004 - enough for a median
            began = time.perf_counter()
            model.scores(text)
            times.append(time.perf_counter() - began)
        median = float(np.median(times)) * 1000
        yield f"{length:>10}{median:>12.3f}{median / length * 1000:>26.3f}"


def report(model: Model, rows: Sequence[Row]) -> Iterator[str]:
    """The lines of the report on *rows*."""
    scores = np.array([model.scores(row.text) for row in rows])
    levels = np.array([model.levels(row) for row in scores])
    yield from _by_head(model, rows, scores, levels)
    yield from _on_benign(model, rows, levels)
    yield from _speed(model)


def main(arguments: Sequence[str] | None = None) -> None:
    """Evaluate from the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m safety_proxy.classifiers.embedded.evaluate", description="Measure a model."
    )
    parser.add_argument("--data", type=Path, required=True, help="labelled rows (.jsonl.gz)")
    parser.add_argument("--model", type=Path, help="model file; default: the one that ships")
    options = parser.parse_args(arguments)
    model = Model.load(options.model)
    print(f"model {model.digest[:16]}, {options.data.name}")
    for line in report(model, read_rows(options.data)):
        print(line)


if __name__ == "__main__":
    main()
