"""The frame of a chart: where a number stands, round numbers to write beside the axes, and the lines of the axes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import ceil, floor, isfinite, log10
from typing import Final

from safety_proxy.harness.html_markup import Markup, tag

WIDTH, HEIGHT = 560, 320
LEFT, RIGHT, TOP, BOTTOM = 66, 18, 22, 52
"""Margins, for what is written beside the axes."""
NOTHING: Final = "\N{EN DASH}"
"""Stands where there is no number."""
_SLACK: Final = 1e-9
"""Rounding errors of a division, so that 0.3 / 0.1 is three steps and not four."""


@dataclass(frozen=True, slots=True)
class Scale:
    """Where on the drawing a number stands."""

    ticks: Sequence[float]
    start: float
    """Where the first tick stands."""
    end: float
    """Where the last tick stands."""

    def __call__(self, value: float) -> float:
        """Its place, rounded to a tenth of a pixel."""
        low, high = self.ticks[0], self.ticks[-1]
        return round(self.start + (value - low) / (high - low) * (self.end - self.start), 1)


def horizontal(ticks: Sequence[float]) -> Scale:
    """From left to right."""
    return Scale(ticks, LEFT, WIDTH - RIGHT)


def vertical(ticks: Sequence[float]) -> Scale:
    """From the bottom up."""
    return Scale(ticks, HEIGHT - BOTTOM, TOP)


def round_ticks(low: float, high: float, count: int, *, whole: bool = False) -> list[float]:
    """About *count* round numbers (1, 2 or 5 and zeros), of which the first is not above *low*, the last not below *high*.

    There are at least two. *whole*: nothing between two whole numbers. Raises `ValueError` for what is no range.
    """
    if not (isfinite(low) and isfinite(high) and low <= high):
        raise ValueError("not a range of numbers")
    if low == high:
        low, high = (0.0, 1.0) if low == 0 else (min(low, 0.0), max(high, 0.0))
    rough = max((high - low) / max(count - 1, 1), 1.0 if whole else 0.0)
    power = 10.0 ** floor(log10(rough))
    step = next((each * power for each in (1, 2, 5) if each * power >= rough * (1 - _SLACK)), 10 * power)
    first, last = floor(low / step + _SLACK), ceil(high / step - _SLACK)
    return [float(f"{i * step:.10g}") for i in range(first, last + 1)]


def number(value: float) -> str:
    """At most four digits behind the point, thousands apart; what is smaller or larger than that can show, with a power."""
    if value != 0 and not 1e-4 <= abs(value) < 1e12:  # noqa: PLR2004 - the promise above
        return f"{value:.3g}"
    written = f"{value:,.4f}".rstrip("0").rstrip(".")
    return "0" if written == "-0" else written


def between(low: float, high: float) -> str:
    """An interval."""
    return f"{number(low)}\N{EN DASH}{number(high)}"


def frame(x_label: str, y_label: str, y: Scale) -> Iterator[Markup]:
    """Lines across, the numbers beside them, and what the axes are."""
    for value in y.ticks:
        yield tag("path", d=f"M{LEFT} {y(value)}H{WIDTH - RIGHT}", class_="axis" if value == y.ticks[0] else "rule")
        yield tag("text", number(value), x=LEFT - 8, y=round(y(value) + 4, 1), class_="tick end")
    middle = (TOP + HEIGHT - BOTTOM) / 2
    yield tag("text", x_label, x=(LEFT + WIDTH - RIGHT) / 2, y=HEIGHT - 8, class_="label")
    yield tag("text", y_label, x=14, y=middle, class_="label", transform=f"rotate(-90 14 {middle})")


def below(text: str, x: float) -> Markup:
    """What is written at a place of the horizontal axis."""
    return tag("text", text, x=x, y=HEIGHT - BOTTOM + 19, class_="tick")
