"""Claims about axes: round numbers that hold what is drawn, in few words."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safety_proxy.harness.plot_axes import HEIGHT, WIDTH, below, between, frame, horizontal, number, round_ticks, vertical
from tests.harness.markup import parsed

NUMBERS = st.floats(-1e9, 1e9).map(lambda value: round(value, 3))


@pytest.mark.parametrize(
    ("low", "high", "count", "ticks"),
    [
        (0, 1, 6, [0, 0.2, 0.4, 0.6, 0.8, 1]),
        (0, 7, 8, [0, 1, 2, 3, 4, 5, 6, 7]),
        (0, 42, 6, [0, 10, 20, 30, 40, 50]),
        (0, 0.3, 4, [0, 0.1, 0.2, 0.3]),
        (-3, 4, 6, [-4, -2, 0, 2, 4]),
        (120, 980, 6, [0, 200, 400, 600, 800, 1000]),
        (0, 0, 6, [0, 0.2, 0.4, 0.6, 0.8, 1]),
        (5, 5, 6, [0, 1, 2, 3, 4, 5]),
        (-5, -5, 6, [-5, -4, -3, -2, -1, 0]),
    ],
)
def test_ticks_are_round(low: float, high: float, count: int, ticks: list[float]) -> None:
    assert round_ticks(low, high, count) == ticks


@given(NUMBERS, NUMBERS, st.integers(2, 10))
def test_ticks_hold_the_range_and_lie_evenly(one: float, other: float, count: int) -> None:
    low, high = sorted((one, other))
    ticks = round_ticks(low, high, count)
    steps = [after - before for before, after in pairwise(ticks)]
    assert len(ticks) >= 2
    unseen = 1e-6 * max(high - low, abs(low), abs(high))  # less than can be drawn
    assert ticks[0] <= low + unseen
    assert high - unseen <= ticks[-1]
    assert steps == pytest.approx([steps[0]] * len(steps), rel=1e-3)


def test_whole_numbers_have_nothing_between_them() -> None:
    assert round_ticks(0, 2, 6, whole=True) == [0, 1, 2]


@pytest.mark.parametrize(("low", "high"), [(math.nan, 1), (0, math.inf), (2, 1)])
def test_what_is_no_range_has_no_ticks(low: float, high: float) -> None:
    with pytest.raises(ValueError, match="not a range"):
        round_ticks(low, high, 6)


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (0, "0"),
        (-0.0, "0"),
        (3, "3"),
        (0.25, "0.25"),
        (1 / 3, "0.3333"),
        (12_345.5, "12,345.5"),
        (1e-6, "1e-06"),
        (2e15, "2e+15"),
    ],
)
def test_numbers_are_short(value: float, written: str) -> None:
    assert number(value) == written


def test_an_interval_names_both_ends() -> None:
    assert between(0.25, 1) == "0.25\N{EN DASH}1"


def test_a_scale_goes_from_the_first_tick_to_the_last() -> None:
    x, y = horizontal([0, 5, 10]), vertical([0, 1])
    assert (x(0), x(10)) == (x.start, x.end)
    assert x(5) == (x.start + x.end) / 2
    assert 0 < x.start < x.end < WIDTH
    assert 0 < y(1) < y(0) < HEIGHT  # up is less


def test_the_frame_has_a_number_for_each_tick_and_says_what_the_axes_are() -> None:
    root = parsed("".join(frame("<x>", "y & z", vertical([0, 0.5, 1]))))
    assert [each.text for each in root.all("text")] == ["0", "0.5", "1", "<x>", "y & z"]
    assert [each.classes for each in root.all("path")] == [{"axis"}, {"rule"}, {"rule"}]
    assert parsed(below("low", 12)).one("text").attributes["x"] == "12"
