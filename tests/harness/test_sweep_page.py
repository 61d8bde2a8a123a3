"""Claims about the page that shows what was measured."""

from __future__ import annotations

from collections import Counter

import numpy as np

from safety_proxy.harness.figures import FOUND, THRESHOLDS, average_precision, curve, rows
from safety_proxy.harness.html import render
from safety_proxy.harness.html_page import Block, Page, Section, Table
from safety_proxy.harness.plots import LineChart
from safety_proxy.harness.stream_curve import Point, Setting, StreamCurve
from safety_proxy.harness.sweep import CategorySweep, Sweep
from safety_proxy.harness.sweep_page import sections
from safety_proxy.model import HARMS, Category


def category(values: list[float], wanted: list[bool], of: Category = Category.HATE) -> CategorySweep:
    said, truth = np.array(values, dtype=np.float64), np.array(wanted, dtype=np.bool_)
    drawn = curve(said, truth)
    area = average_precision(drawn)
    return CategorySweep(
        side="input",
        category=of,
        block_at=4 if of in HARMS else 1,
        wanted=sum(wanted),
        others=len(wanted) - sum(wanted),
        benign=len(wanted) - sum(wanted),
        undecided=0,
        rows=rows(said, truth, ~truth, THRESHOLDS if of in HARMS else (FOUND,)),
        curve=drawn,
        by="severities",
        auprc=area,
        auprc_of_severities=area,
        suggested=None,
    )


def streams(*exposed: int) -> StreamCurve:
    own = Point(Setting(80, 120, 50, 180), own=True, delays=Counter({100: 10}), exposed=[0 for _ in exposed])
    others = [
        Point(Setting(40, window, holdback, 180), delays=Counter({window + holdback: 10}), exposed=[*exposed])
        for window in (40, 80)
        for holdback in (0, 25)
    ]
    return StreamCurve("buffered", (own, *others), 2, len(exposed), len(exposed), 0, 0)


def made(each: CategorySweep | None = None, curve: StreamCurve | None = None) -> list[Section]:
    categories = () if each is None else (each,)
    return [*sections(Sweep("p@0", ("embedded@0",), 0.01, 4, {"about another policy": 1}, categories), curve)]


def rendered(parts: list[Section]) -> str:
    return render(Page("Thresholds", "2026-01-01T00:00:00+00:00", "safety-proxy policy sweep", parts))


def charts(blocks: list[Block]) -> list[LineChart]:
    return [block for block in blocks if isinstance(block, LineChart)]


def test_each_category_has_a_table_and_curves_with_the_policys_threshold_marked() -> None:
    parts = made(category([0, 4, 6, 2], [False, True, True, False]))
    assert [part.title for part in parts] == ["p@0", "input hate"]
    (table,) = (block for block in parts[1].blocks if isinstance(block, Table))
    assert len(table.rows) == 7
    assert table.marked == {3}
    assert [row[:2] for row in table.rows[2:4]] == [("3", 2), ("medium 4", 2)]
    assert "Recall is one of 2, over-blocking one of 2." in table.remark
    by_threshold, precision_recall = charts([*parts[1].blocks])
    assert [series.name for series in by_threshold.series] == ["precision", "recall", "F1", "over-blocking"]
    assert by_threshold.marked is not None
    assert by_threshold.marked.x == 4
    assert [(point.x, point.y) for point in precision_recall.series[0].points][-1] == (0.0, 1.0)
    assert "medium 4" in rendered(parts)


def test_what_is_found_or_not_has_no_curve_by_threshold() -> None:
    parts = made(category([0, 1], [False, True], Category.JAILBREAK))
    assert [chart.title for chart in charts([*parts[1].blocks])] == ["Precision and recall by severities"]
    assert rendered(parts)


def test_where_nothing_must_be_filtered_there_is_no_curve_of_recall() -> None:
    parts = made(category([0, 2], [False, False]))
    assert [chart.title for chart in charts([*parts[1].blocks])] == ["By threshold"]
    assert rendered(parts)


def test_a_curve_of_many_points_is_drawn_with_some_of_them() -> None:
    parts = made(category([each / 1000 for each in range(1000)], [each % 3 == 0 for each in range(1000)]))
    points = charts([*parts[1].blocks])[-1].series[0].points
    assert len(points) <= 201
    assert (points[0].x, points[-1].x) == (1.0, 0.0)


def test_streams_have_a_line_for_each_holdback_and_the_policys_setting_marked() -> None:
    parts = made(curve=streams(3, 0))
    assert [part.title for part in parts] == ["p@0", "Streams"]
    (chart,) = charts([*parts[1].blocks])
    assert [series.name for series in chart.series] == ["holdback 0", "holdback 25", "worth choosing"]
    assert [point.x for point in chart.series[1].points] == [65, 105]
    assert chart.marked is not None
    assert (chart.marked.x, chart.marked.y) == (100, 0)
    assert "holdback 25" in rendered(parts)


def test_without_known_spans_there_is_a_table_of_delays_alone() -> None:
    parts = made(curve=streams())
    assert charts([*parts[1].blocks]) == []
    assert rendered(parts)


def test_without_completions_there_is_only_a_note() -> None:
    nothing = StreamCurve("buffered", (Point(Setting(80, 120, 50, 180), own=True),), 0, 0, 0, 0, 0)
    assert "no completion to stream" in rendered(made(curve=nothing))
