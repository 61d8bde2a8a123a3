"""How far a run has come, on a terminal: one line that is written over."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final, TextIO

_WIDTH: Final = 30
_PAUSE: Final = 0.1
"""Seconds between two drawings: a terminal is slower than a classifier."""


class Progress:
    """Counts; draws a bar if the *total* is known, else how many there were. Draws nothing unless *out* is a terminal."""

    def __init__(self, out: TextIO, total: int | None, clock: Callable[[], float] = time.monotonic) -> None:
        self._out, self._total, self._clock = out, total, clock
        self._shown = out.isatty()
        self._done = self._failed = 0
        self._begun, self._drawn = clock(), float("-inf")

    def step(self, *, passed: bool) -> None:
        """One more is done."""
        self._done += 1
        self._failed += not passed
        if self._shown and self._clock() - self._drawn >= _PAUSE:
            self._draw()

    def clear(self) -> None:
        """Make room for a line of something else, or for the end."""
        if self._shown:
            self._out.write("\r\x1b[K")
            self._out.flush()
            self._drawn = float("-inf")

    def _draw(self) -> None:
        self._drawn = self._clock()
        told = f"{self._done}" if self._total is None else f"{self._done} of {self._total}"
        bar = ""
        if self._total:
            filled = min(_WIDTH * self._done // self._total, _WIDTH)
            bar = f"[{'#' * filled}{'.' * (_WIDTH - filled)}] "
        pace = self._done / max(self._drawn - self._begun, 0.001)
        self._out.write(f"\r\x1b[K{bar}{told} cases, {self._failed} failed, {pace:.0f} a second")
        self._out.flush()
