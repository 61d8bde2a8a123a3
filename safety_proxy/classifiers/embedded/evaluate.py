"""Measure a model on labelled rows: ``python -m safety_proxy.classifiers.embedded.evaluate --data FILE [--model FILE]``.

*FILE* is one of the kinds that `rows` reads; ``--own`` takes the development rows among those written for this project
instead. Prints, for each head, average precision (AUPRC), ROC-AUC, recall at the cuts and at 1 % false positives,
calibration error, and the rank correlation of known severities with the level given (``rank+``: positive rows alone;
``rank0+``: rows of label 0 count as severity 0); the same for any harm, by the overall score, and its ranking within each
source; then what is found and flagged by source, or by group of our own rows; then streams of benign text; then the time.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from safety_proxy.classifiers.embedded.metrics import (
    Floats,
    average_precision,
    calibration_error,
    rank_correlation,
    recall_at,
    roc_auc,
)
from safety_proxy.classifiers.embedded.model import HARM_HEADS, HEADS, Model, overall
from safety_proxy.classifiers.embedded.rows import Row, authored_rows, benign_sources, labels, read_rows, stream_windows
from safety_proxy.model import Severity

STREAM: Final = 3_000
"""Characters of a long completion."""
SHORTEST: Final = 40
"""Characters below which a text is no part of a stream of benign text."""
FEWEST: Final = 5
"""Rows of either kind that a source must hold to be ranked."""
_LEVELS: Final = (Severity.LOW, Severity.MEDIUM, Severity.HIGH)


@dataclass(frozen=True, eq=False)
class Judged:
    """Rows and what a model says of them."""

    model: Model
    rows: Sequence[Row]
    scores: Floats
    levels: npt.NDArray[np.intp]
    known: npt.NDArray[np.int8]
    """(rows, heads): 0, 1, or -1 for not known"""
    overall: Floats

    @classmethod
    def of(cls, model: Model, rows: Sequence[Row]) -> Judged:
        """What *model* says of *rows*."""
        scores = np.array([model.scores(row.text) for row in rows])
        return cls(
            model,
            rows,
            scores,
            np.array([model.levels(row) for row in scores]),
            np.stack([labels(rows, head) for head in HEADS], axis=1),
            np.array([overall(model.probabilities(row)) for row in scores]),
        )


def _by_head(judged: Judged) -> Iterator[str]:
    yield (
        f"{'head':<16}{'rows':>6}{'pos.':>6}{'AUPRC':>7}{'AUC':>7}{'rec>=2':>8}{'rec>=4':>8}{'rec>=6':>8}{'rec@1%':>8}"
        f"{'calib.':>8}{'rank+':>7}{'rank0+':>7}"
    )
    for column, head in enumerate(HEADS):
        known, levels = judged.known[:, column], judged.levels[:, column]
        used, found = known >= 0, known == 1
        recalls = [float((levels[found] >= level).mean()) if found.any() else float("nan") for level in _LEVELS]
        severity = np.array([row.severity.get(head, 0 if row.label(head) == 0 else -1) for row in judged.rows], np.float64)
        ranks = [
            rank_correlation(severity[graded], levels[graded].astype(np.float64)) for graded in (severity > 0, severity >= 0)
        ]
        probabilities = np.array([judged.model.probabilities(row)[column] for row in judged.scores])
        yield (
            f"{head:<16}{_ranking(known[used], judged.scores[used, column])}"
            f"{recalls[0]:>8.3f}{recalls[1]:>8.3f}{recalls[2]:>8.3f}"
            f"{recall_at(known[used], judged.scores[used, column], 0.01):>8.3f}"
            f"{calibration_error(known[used], probabilities[used]):>8.3f}{ranks[0]:>7.3f}{ranks[1]:>7.3f}"
        )
    used, unsafe = _any_harm(judged)
    wanted, scores = unsafe[used].astype(np.int8), judged.overall[used]
    level = judged.levels[:, :HARM_HEADS].max(axis=1)
    recalls = [float((level[used & unsafe] >= least).mean()) if unsafe[used].any() else float("nan") for least in _LEVELS]
    yield (
        f"{'any harm':<16}{_ranking(wanted, scores)}{recalls[0]:>8.3f}{recalls[1]:>8.3f}{recalls[2]:>8.3f}"
        f"{recall_at(wanted, scores, 0.01):>8.3f}{calibration_error(wanted, scores):>8.3f}"
    )


def _ranking(wanted: npt.NDArray[np.int8], scores: Floats) -> str:
    return (
        f"{len(wanted):>6}{(wanted == 1).sum():>6}{average_precision(wanted, scores):>7.3f}{roc_auc(wanted, scores):>7.3f}"
    )


def _any_harm(judged: Judged) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """Of which rows it is known whether they hold any harm; and which do."""
    harms = judged.known[:, :HARM_HEADS]
    return (harms >= 0).all(axis=1) | (harms == 1).any(axis=1), (harms == 1).any(axis=1)


def _by_source(judged: Judged) -> Iterator[str]:
    """The ranking by the overall score within each source that holds both kinds; our rows of a language are one source."""
    used, unsafe = _any_harm(judged)
    sources = np.array([row.source for row in judged.rows])
    yield f"\n{'source, any harm':<76}{'rows':>6}{'pos.':>6}{'AUPRC':>7}{'AUC':>7}"
    for source in np.unique(sources):
        here = (sources == source) & used
        if min(int(unsafe[here].sum()), int((~unsafe[here]).sum())) >= FEWEST:
            yield f"{source[-75:]:<76}{_ranking(unsafe[here].astype(np.int8), judged.overall[here])}"


def _by_kind(judged: Judged) -> Iterator[str]:
    """Found: positive rows with any harm at level 4 or above; flagged: rows known to be harmless, with one."""
    used, unsafe = _any_harm(judged)
    flagged = judged.levels[:, :HARM_HEADS].max(axis=1) >= Severity.MEDIUM
    kinds = np.array([f"{row.source}, {row.group}" if row.group else row.source for row in judged.rows])
    yield f"\n{'source or group, harm at level 4 or above':<76}{'found':>12}{'flagged':>12}{'share':>8}"
    for kind in [*np.unique(kinds)]:
        yield f"{kind[-75:]:<76}{_shares(flagged, (kinds == kind) & used & unsafe, (kinds == kind) & used & ~unsafe)}"
    yield f"{'together':<76}{_shares(flagged, used & unsafe, used & ~unsafe)}"
    benign = benign_sources(judged.rows)
    innocent = np.array([row.source in benign for row in judged.rows]) & used
    yield f"{'sources without a positive row':<76}{_shares(flagged, innocent & unsafe, innocent)}"


def _shares(flagged: npt.NDArray[np.bool_], wanted: npt.NDArray[np.bool_], unwanted: npt.NDArray[np.bool_]) -> str:
    found, wrong = int(flagged[wanted].sum()), int(flagged[unwanted].sum())
    share = f"{wrong / unwanted.sum():>8.4f}" if unwanted.any() else f"{'':>8}"
    return f"{f'{found}/{wanted.sum()}':>12}{f'{wrong}/{unwanted.sum()}':>12}{share}"


def benign_streams(rows: Sequence[Row]) -> dict[str, list[str]]:
    """By source, completions of `STREAM` characters: its rows without any label 1 or unknown, laid end to end."""
    texts = [row for row in rows if all(row.label(head) == 0 for head in HEADS) and len(row.text) >= SHORTEST]
    streams = {}
    for source in sorted({row.source for row in texts}):
        joined = "\n\n".join(row.text for row in texts if row.source == source)
        streams[source] = [joined[start : start + STREAM] for start in range(0, len(joined) - STREAM + 1, STREAM)]
    return {source: found for source, found in streams.items() if found}


def _is_stopped(model: Model, stream: str) -> bool:
    """Whether any window of *stream* has a harm at level 4 or above."""
    return any(
        max(model.levels(model.scores(text, open_left=left, open_right=right), window=left or right)[:HARM_HEADS])
        >= Severity.MEDIUM
        for text, left, right in stream_windows(stream)
    )


def _streams(judged: Judged) -> Iterator[str]:
    yield f"\n{f'streams of {STREAM} benign characters, rows laid end to end':<76}{'stopped':>12}"
    stopped = number = 0
    for source, streams in benign_streams(judged.rows).items():
        bad = sum(_is_stopped(judged.model, stream) for stream in streams)
        yield f"{source[-75:]:<76}{f'{bad}/{len(streams)}':>12}"
        stopped, number = stopped + bad, number + len(streams)
    yield f"{'together':<76}{f'{stopped}/{number}':>12}"


def cpu_per_1000_characters(judge: Callable[[str], object], text: str, runs: int) -> float:
    """Milliseconds of CPU time that *judge* takes for 1,000 characters of *text*: the median of *runs*."""
    times = []
    for _ in range(runs):
        began = time.process_time_ns()
        judge(text)
        times.append(time.process_time_ns() - began)
    return float(np.median(times)) / len(text) / 1000


def _speed(judged: Judged) -> Iterator[str]:
    yield "\ncharacters   CPU ms per 1,000 characters (median), text made of the rows above"
    joined = " ".join(row.text for row in judged.rows)
    for length in (100, 300, 1_000, 10_000, 100_000):
        if len(joined) >= length:
            figure = cpu_per_1000_characters(judged.model.scores, joined[:length], max(200_000 // length, 5))
            yield f"{length:>10}{figure:>14.3f}"


def report(model: Model, rows: Sequence[Row]) -> Iterator[str]:
    """The lines of the report on *rows*."""
    judged = Judged.of(model, rows)
    yield from _by_head(judged)
    yield from _by_source(judged)
    yield from _by_kind(judged)
    yield from _streams(judged)
    yield from _speed(judged)


def main(arguments: Sequence[str] | None = None) -> None:
    """Evaluate from the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m safety_proxy.classifiers.embedded.evaluate", description="Measure a model."
    )
    chosen = parser.add_mutually_exclusive_group(required=True)
    chosen.add_argument("--data", type=Path, help="labelled rows (.jsonl.gz or .txt)")
    chosen.add_argument("--own", action="store_true", help="the development rows written for this project")
    parser.add_argument("--model", type=Path, help="model file; default: the one that ships")
    options = parser.parse_args(arguments)
    model = Model.load(options.model)
    print(f"model {model.digest[:16]}, {'own development rows' if options.own else options.data.name}")
    for line in report(model, authored_rows()[1] if options.own else read_rows(options.data)):
        print(line)


if __name__ == "__main__":
    main()
