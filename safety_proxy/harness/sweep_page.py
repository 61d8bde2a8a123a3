"""What was measured of thresholds and of windows, as parts of a page: tables and curves.

No text of a case is in them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from safety_proxy.harness.figures import Row
from safety_proxy.harness.html_page import Block, Cell, Note, Section, Table
from safety_proxy.harness.intervals import Estimate
from safety_proxy.harness.plots import LineChart, Series
from safety_proxy.harness.plots import Point as Spot
from safety_proxy.harness.stream_curve import StreamCurve
from safety_proxy.harness.sweep import CategorySweep, Sweep
from safety_proxy.harness.sweep_report import (
    COLUMNS,
    STREAM_COLUMNS,
    STREAM_REMARK,
    area,
    counted,
    notes,
    stream_notes,
    stream_sums,
    stream_texts,
    sums,
    word,
)

_MOST_SPOTS: Final = 200
"""Points of a curve that are drawn; more cannot be told apart."""


def sections(sweep: Sweep, curve: StreamCurve | None) -> Iterator[Section]:
    """Parts of a page: one for each category, and one for streams."""
    told = [Note(f"{counted(sweep.judged, 'case')}, judged by {', '.join(sweep.classifiers) or 'nobody'}")]
    told += [Note(f"left out {counted(cases, 'case')}: {reason}") for reason, cases in sorted(sweep.left_out.items())]
    yield Section(sweep.policy, told)
    for each in sweep.categories:
        yield Section(f"{each.side} {each.category}", [*_blocks(each, sweep.target)])
    if curve is not None:
        yield Section("Streams", [*_stream_blocks(curve)])


def _blocks(each: CategorySweep, target: float) -> Iterator[Block]:
    yield Note(f"{sums(each)}; {area(each)}")
    yield from map(Note, notes(each, target))
    table = [_cells(each, row) for row in each.rows]
    marked = frozenset(i for i, row in enumerate(each.rows) if row.threshold == each.block_at)
    remark = (
        f"Precision is a share of those filtered. Recall is one of {each.wanted}, over-blocking one of {each.benign}. "
        "In parentheses: 95 % intervals. Precision holds for cases mixed like these. The policy's own threshold stands out."
    )
    yield Table("Thresholds", (COLUMNS[0], "filtered", *COLUMNS[1:]), table, marked, remark)
    if len(each.rows) > 1:
        measured = (
            Series("precision", _spots(each, ((row, row.scores.precision) for row in each.rows))),
            Series("recall", _spots(each, ((row, row.scores.recall) for row in each.rows))),
            Series("F1", _spots(each, ((row, row.scores.f1) for row in each.rows))),
            Series("over-blocking", _spots(each, ((row, row.overblocking) for row in each.rows))),
        )
        here = None if each.block_at is None else Spot(each.block_at, None, "policy")
        yield LineChart("By threshold", "filtered from severity", "share", measured, here, y_range=(0, 1))
    if each.curve is not None:
        pairs = list(zip(each.curve.recall.tolist(), each.curve.precision.tolist(), strict=True))
        step = -(-len(pairs) // _MOST_SPOTS)
        spots = [Spot(recall, precision) for recall, precision in (*pairs[:-1:step], pairs[-1])]
        title = f"Precision and recall by {each.by}"
        yield LineChart(title, "recall", "precision", [Series("all thresholds", spots)], None, (0, 1), (0, 1))


def _cells(each: CategorySweep, row: Row) -> tuple[Cell, ...]:
    filtered = row.confusion.true_positives + row.confusion.false_positives
    return (word(each, row), filtered, row.scores.precision, row.scores.recall, row.scores.f1, row.overblocking)


def _spots(each: CategorySweep, measured: Iterable[tuple[Row, Estimate]]) -> list[Spot]:
    return [
        Spot(row.threshold, of.value, word(each, row), *((None, None) if of.value is None else (of.low, of.high)))
        for row, of in measured
    ]


def _stream_blocks(curve: StreamCurve) -> Iterator[Block]:
    yield Note(stream_sums(curve))
    yield from map(Note, stream_notes(curve))
    if not curve.choices:
        return
    if curve.frontier:
        yield _stream_chart(curve)
    rows = [stream_texts(curve, point) for point in curve.points]
    yield Table("Settings", STREAM_COLUMNS, rows, frozenset({0}), STREAM_REMARK)


def _stream_chart(curve: StreamCurve) -> LineChart:
    """Delay against exposure: a line for each holdback, along the windows; and one along what is worth choosing."""
    measured = [(point, point.delay, point.exposure) for point in curve.points]
    spots = {
        id(point): Spot(delay, exposure, f"windows {point.setting.first_window} and {point.setting.window}")
        for point, delay, exposure in measured
        if delay is not None and exposure is not None
    }
    series = []
    for holdback in sorted({point.setting.holdback for point in curve.points if not point.own}):
        along = [p for p in curve.points if p.setting.holdback == holdback and not p.own and id(p) in spots]
        series.append(Series(f"holdback {holdback}", sorted((spots[id(p)] for p in along), key=lambda spot: spot.x)))
    series.append(Series("worth choosing", [spots[id(point)] for point in curve.frontier]))
    own = curve.points[0]
    here = Spot(own.delay, own.exposure, "policy") if own.delay is not None and own.exposure is not None else None
    axes = ("mean delay, positions", "harmful characters exposed, mean")
    return LineChart("Delay against exposure", *axes, [each for each in series if each.points], here)
