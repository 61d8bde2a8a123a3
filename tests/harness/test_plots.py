"""Claims about charts: everything lies inside, is named, and is the same each time."""

from __future__ import annotations

import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safety_proxy.harness.html_markup import Markup
from safety_proxy.harness.plot_axes import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH
from safety_proxy.harness.plots import BarChart, Bars, Chart, LineChart, Point, Series, figure
from tests.harness.markup import Element, parsed
from tests.harness.pages import curve

NUMBERS = st.floats(-1e6, 1e6).map(lambda value: round(value, 2))
POINTS = st.builds(Point, NUMBERS, st.none() | NUMBERS, st.text(max_size=3), st.none() | NUMBERS, st.none() | NUMBERS)
LINES = st.builds(
    LineChart,
    st.text(max_size=5),
    st.just("x"),
    st.just("y"),
    st.lists(st.builds(Series, st.text(max_size=3), st.lists(POINTS, max_size=5)), max_size=8),
    st.none() | POINTS,
    st.none() | st.just((0.0, 1.0)),
    st.none() | st.just((0.0, 1.0)),
)

ELEMENTS = {
    *("figure", "figcaption", "ul", "li", "div", "details", "summary", "span"),
    *("svg", "title", "desc", "path", "rect", "circle", "text"),
    *("table", "caption", "thead", "tbody", "tr", "th", "td"),
}


@st.composite
def bar_charts(draw: st.DrawFn) -> BarChart:
    groups = draw(st.lists(st.text(max_size=3), min_size=1, max_size=9))
    values = st.lists(st.integers(0, 10**6) | st.floats(0, 1), min_size=len(groups), max_size=len(groups))
    return BarChart(
        "t", "x", "y", groups, draw(st.lists(st.builds(Bars, st.text(max_size=3), values), min_size=1, max_size=8))
    )


CHARTS = LINES | bar_charts()


def drawn(chart: Chart) -> Element:
    """The drawing itself, without the legend's."""
    return next(each for each in parsed(figure(chart, "c")).all("svg") if each.attributes.get("role") == "img")


def bars(*values: list[float]) -> BarChart:
    series = [Bars(f"s{i}", each) for i, each in enumerate(values)]
    return BarChart("Bars", "severity", "cases", [str(i) for i in range(len(values[0]))], series)


def line(*points: Point, marked: Point | None = None, y_range: tuple[float, float] | None = None) -> LineChart:
    return LineChart("Line", "x", "y", [Series("one", points)], marked, y_range=y_range)


# ------------------------------------------------------------------------------------------------------------- any chart


@given(CHARTS)
def test_all_that_is_drawn_lies_inside(chart: Chart) -> None:
    for element in drawn(chart).all("path"):
        for place in re.findall(r"[ML](-?[\d.]+) (-?[\d.]+)", element.attributes["d"] or ""):
            assert LEFT - 5 <= float(place[0]) <= WIDTH - RIGHT + 5
            assert TOP - 5 <= float(place[1]) <= HEIGHT - BOTTOM + 5
    for element in drawn(chart).all("rect"):
        x, y, width, height = (float(element.attributes[name] or "nan") for name in ("x", "y", "width", "height"))
        assert x >= LEFT
        assert x + width <= WIDTH - RIGHT
        assert y >= TOP - 1
        assert y + height == pytest.approx(HEIGHT - BOTTOM, abs=0.2)


@given(CHARTS)
def test_a_chart_is_always_drawn_alike_and_holds_nothing_but_its_own_elements(chart: Chart) -> None:
    made = figure(chart, "c")
    assert made == figure(chart, "c")
    assert {each.name for each in parsed(made).all()} - {""} <= ELEMENTS


@pytest.mark.parametrize("chart", [curve(), bars([1, 2])], ids=["lines", "bars"])
def test_a_chart_tells_its_title_and_what_it_shows_to_who_cannot_see_it(chart: Chart) -> None:
    svg = drawn(chart)
    by_id = {each.attributes["id"]: each for each in svg.all() if "id" in each.attributes}
    assert by_id[svg.attributes["aria-labelledby"]].text == chart.title
    assert chart.y_label in by_id[svg.attributes["aria-describedby"]].text


def test_a_description_of_its_own_is_told_instead() -> None:
    chart = LineChart("t", "x", "y", [Series("s", [Point(0, 1)])], description="It falls.")
    assert drawn(chart).one("desc").text == "It falls."


def test_one_series_needs_no_legend_and_several_have_one() -> None:
    assert parsed(figure(bars([1, 2]), "c")).all("ul") == []
    legend = parsed(figure(bars([1], [2]), "c")).one("ul", class_="legend")
    assert [each.text for each in legend.all("li")] == ["s0", "s1"]


@given(CHARTS)
def test_its_numbers_are_a_table_too(chart: Chart) -> None:
    table = parsed(figure(chart, "c")).one("table")
    lines = len(chart.groups) if isinstance(chart, BarChart) else sum(len(series.points) for series in chart.series)
    assert len(table.one("tbody").all("tr")) == lines
    assert len({len(row.all("th") + row.all("td")) for row in table.all("tr")}) == 1


def test_hostile_names_stay_names() -> None:
    chart = LineChart(
        "</svg><script>", "</text>", "<b>", [Series("</title><x>", [Point(0, 1, "</td>")])], Point(0, 1, "<i>")
    )
    assert {each.name for each in parsed(figure(chart, "c")).all()} & {"script", "b", "x", "i"} == set()


# ---------------------------------------------------------------------------------------------------------------- lines


def test_a_line_has_a_gap_where_there_is_nothing_to_measure() -> None:
    points = [Point(0, 1), Point(1, 2), Point(2, None), Point(3, 1), Point(4, 1)]
    (path,) = drawn(line(*points)).all("path", class_="line")
    assert (path.attributes["d"] or "").count("M") == 2
    assert len(drawn(line(*points)).all("path", class_="mark")) == 4


def test_points_name_their_numbers_and_label() -> None:
    (mark,) = drawn(line(Point(4, 0.5, "threshold 4", 0.25, 0.75))).all("path", class_="mark")
    assert mark.text == "one, threshold 4: 4 → 0.5 (0.25\N{EN DASH}0.75)"


def test_an_interval_is_drawn_as_a_whisker() -> None:
    assert drawn(line(Point(0, 0.5))).all("path", class_="whisker") == []
    assert len(drawn(line(Point(0, 0.5, "", 0.25, 0.75))).all("path", class_="whisker")) == 1


def test_a_marked_point_has_a_ring_and_one_without_height_a_line() -> None:
    ring = drawn(line(Point(0, 1), Point(9, 3), marked=Point(9, 3, "in force")))
    assert ring.one("circle").classes == {"here"}
    assert ring.one("text", class_="remark").text == "in force"
    assert "end" in ring.one("text", class_="remark").classes  # it stands at the right end, and is written to the left
    assert len(drawn(line(Point(0, 1), Point(9, 3), marked=Point(0, None, "now"))).all("path", class_="here")) == 1


def test_a_range_that_is_asked_for_is_shown_and_grows_with_what_lies_outside() -> None:
    def ticks(chart: LineChart) -> list[str]:
        return [each.text for each in drawn(chart).all("text", class_="end")]

    assert ticks(line(Point(0, 0.5), y_range=(0, 1)))[-1] == "1"
    assert ticks(line(Point(0, 3), y_range=(0, 1)))[-1] == "3"


def test_heights_are_counted_from_zero_and_places_are_not() -> None:
    texts = [each.text for each in drawn(line(Point(410, 410), Point(490, 490))).all("text", class_="tick")]
    assert (texts[0], texts[-1]) == ("0", "500")
    assert texts.count("0") == 1


def test_a_chart_without_a_measurement_says_so() -> None:
    assert "nothing to measure" in drawn(line(Point(0, None), Point(1, None))).text
    assert "nothing to measure" in drawn(LineChart("t", "x", "y", [])).text


@pytest.mark.parametrize("bad", [Point(math.nan, 1), Point(0, math.inf), Point(0, 1, "", math.nan, 1)])
def test_what_is_no_number_is_refused(bad: Point) -> None:
    with pytest.raises(ValueError, match="no number"):
        figure(line(bad), "c")


# ----------------------------------------------------------------------------------------------------------------- bars


def test_bars_are_as_high_as_their_numbers() -> None:
    one, two = drawn(bars([10, 20])).all("rect")
    assert float(two.attributes["height"] or 0) == pytest.approx(2 * float(one.attributes["height"] or 0), abs=0.2)


def test_what_is_there_can_be_seen_however_little_it_is_and_what_is_not_is_not_drawn() -> None:
    heights = [each.attributes["height"] for each in drawn(bars([1, 0, 1_000_000])).all("rect")]
    assert heights[0] == "1"
    assert len(heights) == 2


def test_a_bar_names_its_series_group_and_number() -> None:
    (bar,) = drawn(BarChart("t", "severity", "cases", ["4"], [Bars("expected allow", [1200])])).all("rect")
    assert bar.text == "expected allow, severity 4: 1,200"


def test_counts_have_whole_ticks() -> None:
    assert [each.text for each in drawn(bars([1, 2])).all("text", class_="end")] == ["0", "1", "2"]


@pytest.mark.parametrize("chart", [BarChart("t", "x", "y", ["a"], [Bars("s", [1, 2])]), bars([-1])])
def test_bars_that_do_not_fit_their_groups_or_are_negative_are_refused(chart: BarChart) -> None:
    with pytest.raises(ValueError, match="needs a bar for each group"):
        figure(chart, "c")


def test_series_are_told_apart_without_colours() -> None:
    """Every mark has a shape of its own, here at the same place."""
    series = [Series(str(i), [Point(0, 1)]) for i in range(6)]
    marks = drawn(LineChart("t", "x", "y", series)).all("path", class_="mark")
    assert len({each.attributes["d"] for each in marks}) == 6


def test_a_figure_is_markup() -> None:
    assert isinstance(figure(bars([1]), "c"), Markup)
