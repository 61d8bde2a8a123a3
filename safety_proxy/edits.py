"""A text put together from another, piece by piece, with the way back: where each character came from."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from re import Match, Pattern
from typing import Final, NamedTuple, TypeAlias


class Edges(NamedTuple):
    """Whether a text goes on beyond its first and its last character."""

    left: bool = False
    right: bool = False


WHOLE: Final = Edges()
"""Those of a text that does not go on."""


class Piece(NamedTuple):
    """Where one piece of a new text stands (*after*) and stood (*before*), in characters."""

    after: int
    before: int
    block: int
    """How many old characters its new ones come from together; 0: each new one comes from one old one."""


Stage: TypeAlias = "tuple[Piece, ...]"
"""How one text was made of another: its pieces in order."""


class Draft:
    """Puts a text together piece by piece and keeps account of where each came from."""

    def __init__(self) -> None:
        self._parts: list[str] = []
        self._pieces: list[Piece] = []
        self._after = self._before = 0
        self._running = False

    def keep(self, text: str) -> None:
        """Add *text*, which replaces as many old characters, one for one."""
        if text:
            if not self._running:
                self._pieces.append(Piece(self._after, self._before, 0))
            self._running = True
            self._add(text, len(text))

    def replace(self, text: str, count: int) -> None:
        """Add *text*, which replaces *count* old characters."""
        if len(text) == count == 1:
            self.keep(text)
        else:
            if text:
                self._pieces.append(Piece(self._after, self._before, count))
            self._running = False
            self._add(text, count)

    def _add(self, text: str, count: int) -> None:
        self._parts.append(text)
        self._after += len(text)
        self._before += count

    def finished(self) -> tuple[str, Stage]:
        """The new text and its pieces."""
        return "".join(self._parts), tuple(self._pieces)


def origin(stages: Sequence[Stage], start: int, end: int) -> tuple[int, int]:
    """Where the characters from *start* to *end* (half-open, not empty) stood before *stages*, which came in this order."""
    for stage in reversed(stages):
        start, end = _back(stage, start, end)
    return start, end


def _back(stage: Stage, start: int, end: int) -> tuple[int, int]:
    """Where the characters from *start* to *end* stood before *stage*; *start* < *end*."""
    first = stage[bisect_right(stage, start, key=lambda piece: piece.after) - 1]
    last = stage[bisect_right(stage, end - 1, key=lambda piece: piece.after) - 1]
    return (
        first.before if first.block else first.before + start - first.after,
        last.before + (last.block or end - last.after),
    )


def substituted(
    pattern: Pattern[str], by: Callable[[Match[str]], str], text: str, *, aligned: bool = False
) -> tuple[str, Stage]:
    """*text* with each match of *pattern* replaced by what *by* makes of it, and the stage that it was.

    If *aligned*, a match that keeps its length is replaced one character for one.
    """
    draft = Draft()
    end = 0
    changed = False
    for match in pattern.finditer(text):
        new = by(match)
        if new == match[0]:
            continue
        changed = True
        draft.keep(text[end : match.start()])
        if aligned and len(new) == len(match[0]):
            draft.keep(new)
        else:
            draft.replace(new, len(match[0]))
        end = match.end()
    if not changed:
        return text, ()
    draft.keep(text[end:])
    return draft.finished()
