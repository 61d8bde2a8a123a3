"""On a terminal a run tells how far it has come; elsewhere it writes nothing."""

from __future__ import annotations

import io

from safety_proxy.harness.progress import Progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_nothing_is_written_where_nobody_watches() -> None:
    out = io.StringIO()
    progress = Progress(out, 10)
    progress.step(passed=True)
    progress.clear()

    assert out.getvalue() == ""


def test_a_bar_fills_and_failures_are_counted() -> None:
    out, clock = Terminal(), Clock()
    progress = Progress(out, 4, clock)
    for passed in (True, False):
        clock.now += 1
        progress.step(passed=passed)

    assert out.getvalue().split("\r\x1b[K")[1:] == [
        f"[{'#' * 7}{'.' * 23}] 1 of 4 cases, 0 failed, 1 a second",
        f"[{'#' * 15}{'.' * 15}] 2 of 4 cases, 1 failed, 1 a second",
    ]
    progress.clear()
    assert out.getvalue().endswith("\r\x1b[K")


def test_it_draws_no_faster_than_a_terminal_can_and_needs_no_total() -> None:
    out, clock = Terminal(), Clock()
    progress = Progress(out, None, clock)
    for _ in range(1000):
        clock.now += 0.001
        progress.step(passed=True)

    drawn = out.getvalue().split("\r\x1b[K")[1:]
    assert 5 <= len(drawn) <= 11
    assert drawn[0] == "1 cases, 0 failed, 1000 a second"
