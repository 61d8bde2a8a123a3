"""Charts as SVG: lines and bars, with axes, ticks, a legend, and their numbers in a table for who cannot see them.

The same chart is always the same text. Colours are classes (``s0`` to ``s5``) that a style sheet fills in; dashes and the
shapes of marks tell series apart without colours.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Final, TypeAlias

from safety_proxy.harness.html_markup import Markup, join, tag
from safety_proxy.harness.plot_axes import (
    BOTTOM,
    HEIGHT,
    LEFT,
    NOTHING,
    RIGHT,
    TOP,
    WIDTH,
    Scale,
    below,
    between,
    frame,
    horizontal,
    number,
    round_ticks,
    vertical,
)

_MARKS: Final = (
    "M{l} {y}a4 4 0 1 0 8 0a4 4 0 1 0 -8 0Z",
    "M{l} {t}h8v8h-8Z",
    "M{l} {b}L{x} {t}L{r} {b}Z",
    "M{l} {y}L{x} {t}L{r} {y}L{x} {b}Z",
    "M{l} {t}L{x} {b}L{r} {t}Z",
    "M{l} {t}L{r} {b}M{l} {b}L{r} {t}",
)
"""Disc, square, triangle, diamond, triangle, cross. A seventh series looks like the first."""
_WIDEST_BAR: Final = 34.0
_NUMBERED_BAR: Final = 15.0
"""Width of a bar from which on its number fits above it."""


@dataclass(frozen=True, slots=True)
class Point:
    """One measurement."""

    x: float
    y: float | None
    """None: there is nothing to measure; the line has a gap."""
    label: str = ""
    """What is said of it besides its numbers: ``threshold 4``."""
    low: float | None = None
    """Ends of an interval around y, drawn as a whisker if both are there."""
    high: float | None = None


@dataclass(frozen=True, slots=True)
class Series:
    """Points that belong together, joined in the order in which they are given."""

    name: str
    points: Sequence[Point]


@dataclass(frozen=True, slots=True)
class LineChart:
    """One or several lines."""

    title: str
    x_label: str
    y_label: str
    series: Sequence[Series]
    marked: Point | None = None
    """A place that stands out, with its label written beside it: what is in force now."""
    x_range: tuple[float, float] | None = None
    """None: what the points span. For proportions, (0, 1) keeps charts comparable."""
    y_range: tuple[float, float] | None = None
    """None: from 0, or from the lowest point if that is below, to the highest."""
    description: str = ""
    """What the chart shows, in a sentence, for who cannot see it."""


@dataclass(frozen=True, slots=True)
class Bars:
    """One bar for each group."""

    name: str
    values: Sequence[float]
    """As many as the chart has groups; none is negative."""


@dataclass(frozen=True, slots=True)
class BarChart:
    """Groups of bars, side by side."""

    title: str
    x_label: str
    y_label: str
    groups: Sequence[str]
    series: Sequence[Bars]
    description: str = ""
    """What the chart shows, in a sentence, for who cannot see it."""


Chart: TypeAlias = LineChart | BarChart


# ------------------------------------------------------------------------------------------------------------- figures


def figure(chart: Chart, identity: str) -> Markup:
    """The chart with its title, legend, and the table of its numbers. *identity* is unique in the page, and a valid id.

    Raises `ValueError` for a chart that has nothing to show, or numbers that are none.
    """
    drawing = _draw(chart, identity)
    names = [series.name for series in chart.series]
    keys = [tag("li", _swatch(chart, i), name) for i, name in enumerate(names)]
    return tag(
        "figure",
        tag("figcaption", chart.title),
        tag("ul", keys, class_="legend", aria_hidden="true") if len(names) > 1 else None,
        tag("div", drawing, class_="plot"),
        tag("details", tag("summary", "Numbers", tag("span", f" of {chart.title}", class_="unseen")), _numbers(chart)),
        class_="chart",
    )


def _draw(chart: Chart, identity: str) -> Markup:
    body = _lines(chart) if isinstance(chart, LineChart) else _bars(chart)
    told = chart.description or f"{chart.y_label} by {chart.x_label}: {', '.join(each.name for each in chart.series)}"
    return tag(
        "svg",
        tag("title", chart.title, id=f"{identity}-title"),
        tag("desc", told, id=f"{identity}-desc"),
        body,
        viewBox=f"0 0 {WIDTH} {HEIGHT}",
        role="img",
        aria_labelledby=f"{identity}-title",
        aria_describedby=f"{identity}-desc",
    )


def _swatch(chart: Chart, index: int) -> Markup:
    style = f"s{index % len(_MARKS)}"
    if isinstance(chart, BarChart):
        drawn = tag("rect", x=1, y=1, width=12, height=12, class_=f"bar {style}")
    else:
        drawn = join(tag("path", d="M1 7H25", class_=f"line {style}"), _mark(13, 7, index, ""))
    width = 14 if isinstance(chart, BarChart) else 26
    return tag("svg", drawn, viewBox=f"0 0 {width} 14", width=width, height=14, aria_hidden="true")


def _numbers(chart: Chart) -> Markup:
    """The chart as a table."""
    if isinstance(chart, BarChart):
        header = [chart.x_label, *(each.name for each in chart.series)]
        rows = [[group, *(number(each.values[i]) for each in chart.series)] for i, group in enumerate(chart.groups)]
    else:
        header = ["series", chart.x_label, chart.y_label, "remark"]
        rows = [[name, number(point.x), _told(point), point.label] for name, point in _all_points(chart)]
    return tag(
        "div",
        tag(
            "table",
            tag("caption", chart.title, class_="unseen"),
            tag("thead", tag("tr", [tag("th", name, scope="col") for name in header])),
            tag("tbody", [tag("tr", tag("th", row[0], scope="row"), [tag("td", c) for c in row[1:]]) for row in rows]),
        ),
        class_="wide",
        tabindex=0,
        role="group",
        aria_label=f"Numbers of {chart.title}",
    )


def _told(point: Point) -> str:
    if point.y is None:
        return NOTHING
    return number(point.y) + ("" if point.low is None or point.high is None else f" ({between(point.low, point.high)})")


# -------------------------------------------------------------------------------------------------------------- lines


def _all_points(chart: LineChart) -> list[tuple[str, Point]]:
    return [(series.name, point) for series in chart.series for point in series.points]


def _span(values: Sequence[float], wanted: tuple[float, float] | None, *, from_zero: bool) -> tuple[float, float]:
    """The range that an axis needs at least; wider than *wanted* if a value lies outside."""
    if not all(map(isfinite, values)):
        raise ValueError("a chart holds what is no number")
    ends = wanted or ((0.0,) if from_zero or not values else ())
    return min((*ends, *values)), max((*ends, *values))


def _lines(chart: LineChart) -> Iterator[Markup]:
    points = [point for _, point in _all_points(chart)] + ([chart.marked] if chart.marked is not None else [])
    across = [point.x for point in points]
    up = [value for point in points for value in (point.y, point.low, point.high) if value is not None]
    x = horizontal(round_ticks(*_span(across, chart.x_range, from_zero=False), 8))
    whole = chart.y_range is None and all(value == int(value) for value in up if isfinite(value))
    y = vertical(round_ticks(*_span(up, chart.y_range, from_zero=True), 6, whole=whole))
    yield from frame(chart.x_label, chart.y_label, y)
    yield from (below(number(value), x(value)) for value in x.ticks)
    if not up:
        yield tag("text", "nothing to measure", x=(LEFT + WIDTH - RIGHT) / 2, y=(TOP + HEIGHT - BOTTOM) / 2, class_="label")
    if chart.marked is not None:
        yield from _marked(chart.marked, x, y)
    for index, series in enumerate(chart.series):
        yield from _line(series, index, x, y)


def _line(series: Series, index: int, x: Scale, y: Scale) -> Iterator[Markup]:
    style = f"s{index % len(_MARKS)}"
    runs: list[list[str]] = [[]]
    for point in series.points:
        if point.y is None:
            runs.append([])
        else:
            runs[-1].append(f"{x(point.x)} {y(point.y)}")
    path = "".join(f"M{'L'.join(run)}" for run in runs if len(run) > 1)
    if path:
        yield tag("path", d=path, class_=f"line {style}")
    for point in series.points:
        if point.y is not None:
            if point.low is not None and point.high is not None:
                yield tag("path", d=f"M{x(point.x)} {y(point.low)}V{y(point.high)}", class_=f"whisker {style}")
            label = f", {point.label}" if point.label else ""
            told = f"{series.name}{label}: {number(point.x)} → {_told(point)}"
            yield _mark(x(point.x), y(point.y), index, told)


def _mark(x: float, y: float, index: int, told: str) -> Markup:
    kind = index % len(_MARKS)
    places = {"x": x, "y": y, "l": round(x - 4, 1), "r": round(x + 4, 1), "t": round(y - 4, 1), "b": round(y + 4, 1)}
    return tag("path", tag("title", told) if told else None, d=_MARKS[kind].format(**places), class_=f"mark s{kind}")


def _marked(point: Point, x: Scale, y: Scale) -> Iterator[Markup]:
    """A ring, or if the point has no height a line from top to bottom, with the label on the side that has more room."""
    place = x(point.x)
    if point.y is None:
        yield tag("path", d=f"M{place} {TOP}V{HEIGHT - BOTTOM}", class_="here")
        height: float = TOP - 8
    else:
        yield tag("circle", cx=place, cy=y(point.y), r=9, class_="here")
        height = y(point.y) - 14 if y(point.y) > TOP + 20 else y(point.y) + 24
    right = place > (LEFT + WIDTH - RIGHT) / 2
    yield tag(
        "text",
        point.label,
        x=place + (6 if right else -6),
        y=round(height, 1),
        class_=f"remark {'end' if right else 'start'}",
    )


# --------------------------------------------------------------------------------------------------------------- bars


def _bars(chart: BarChart) -> Iterator[Markup]:
    values = [value for series in chart.series for value in series.values]
    if any(len(series.values) != len(chart.groups) for series in chart.series) or any(value < 0 for value in values):
        raise ValueError("a chart needs a bar for each group and series, and none below 0")
    low, high = _span(values, None, from_zero=True)
    y = vertical(round_ticks(low, high, 6, whole=all(value == int(value) for value in values)))
    yield from frame(chart.x_label, chart.y_label, y)
    room = (WIDTH - RIGHT - LEFT) / max(len(chart.groups), 1)
    width = round(min(_WIDEST_BAR, room * 0.8 / max(len(chart.series), 1)), 1)
    for i, group in enumerate(chart.groups):
        middle = LEFT + room * (i + 0.5)
        yield below(group, round(middle, 1))
        for j, series in enumerate(chart.series):
            if series.values[i] > 0:
                left = round(middle + (j - len(chart.series) / 2) * width, 1)
                told = f"{series.name}, {chart.x_label} {group}: {number(series.values[i])}"
                yield from _bar(left, width, y(series.values[i]), j, told)
                if width >= _NUMBERED_BAR:
                    top = round(y(series.values[i]) - 5, 1)
                    yield tag("text", number(series.values[i]), x=round(left + width / 2, 1), y=top, class_="value")


def _bar(left: float, width: float, top: float, index: int, told: str) -> Iterator[Markup]:
    kind = f"s{index % len(_MARKS)}"
    height = round(max(HEIGHT - BOTTOM - top, 1), 1)  # what is there must be seen
    size = {"x": left, "y": round(HEIGHT - BOTTOM - height, 1), "width": round(width - 1, 1), "height": height}
    yield tag("rect", tag("title", told), class_=f"bar {kind}", **size)
