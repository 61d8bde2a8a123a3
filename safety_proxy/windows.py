"""Where the text of one choice is cut into windows, and what is sent along with each.

A choice has one axis of positions: its visible text of all channels in order of arrival. Windows end at fixed
positions of that axis, so what is judged together does not depend on how the backend cut its chunks, nor on time.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass

from safety_proxy.events import Chunk, Segment
from safety_proxy.jsontext import parse, strings, unescape
from safety_proxy.model import Kind, Query
from safety_proxy.normalise import INVISIBLE_RUNS, offset_of, visible

BEYOND = sys.maxsize
"""A position after all others: the end of the choice."""

INVISIBLE_LIMIT = 256
"""Longest run of characters that take no position; no script needs more than a few."""

_BLOCK = 1024
"""Longer pieces are stored in blocks of so many characters, so that cutting windows off their front copies little."""
_REMEMBERED = 1024
"""How many strings of unknown fields are remembered per choice, so that a repeated one is judged once."""
_REMEMBERED_LENGTH = 256
"""The longest of them, in characters."""


@dataclass(frozen=True, slots=True)
class WindowPolicy:
    """How a choice is cut, in positions. Raises ValueError if a span up to *holdback* could escape."""

    first: int
    """Length of the first window."""
    size: int
    """Length of each later one."""
    context: int
    """Earlier text of the same channel that is judged again with a window, so that a span over the border is seen whole."""
    holdback: int
    """Cleared text that waits for the next window: no part of a harmful span up to this length is released."""
    in_flight: int = 8
    """Windows being judged at once."""

    def __post_init__(self) -> None:
        if min(self.first, self.size, self.in_flight) < 1 or self.holdback < 0:
            raise ValueError("windows and in_flight must be positive, holdback must not be negative")
        if self.context <= self.holdback:
            raise ValueError(f"context ({self.context}) must be larger than holdback ({self.holdback})")

    @classmethod
    def whole(cls) -> WindowPolicy:
        """One window: the completion is judged in one piece, and nothing is shown before."""
        return cls(first=BEYOND, size=BEYOND, context=1, holdback=0)


@dataclass(frozen=True, slots=True)
class Window:
    """A run of text that is judged together."""

    end: int
    """The position where it ends; `BEYOND` for the last."""
    queries: tuple[Query, ...]
    characters: int = 0
    """How many characters of the axis stand before its end, with those that take no position."""


class _Channel:
    """What is remembered of one channel: the context for its next part."""

    __slots__ = ("context", "name", "start")

    def __init__(self, name: str) -> None:
        self.name = name
        self.context = ""
        self.start = 0
        """Characters of the channel before the context."""

    def query(self, fresh: str, context: int, *, open_right: bool) -> Query:
        text = self.context + fresh
        query = Query(
            text,
            Kind.COMPLETION,
            open_left=self.start > 0,
            open_right=open_right,
            channel=self.name,
            offset=self.start,
        )
        surplus = visible(text) - context
        if surplus > 0:
            gone = offset_of(text, surplus)
            self.start += gone
            text = text[gone:]
        self.context = text
        return query


class Axis:
    """The text of one choice. Cost is linear in the text; memory is bounded once its windows have been taken."""

    def __init__(self, policy: WindowPolicy) -> None:
        self._policy = policy
        self._boundary = policy.first
        self._start = 0
        self._pending: deque[Segment] = deque()
        self._channels: dict[str, _Channel] = {}
        self._whole: dict[str, list[str]] = {}
        self._loose: deque[tuple[int, Chunk]] = deque()
        self._remembered: set[str] = set()
        self._invisible = 0
        self._taken = 0
        self.length = 0
        """Positions so far."""
        self.characters = 0
        """Characters so far: the positions, and what takes none."""
        self.illegible = False
        """A run of characters that take no position grew longer than `INVISIBLE_LIMIT`; nothing behind it was taken."""

    def add(self, chunk: Chunk) -> int:
        """Append the text of *chunk*; return the position where its text ends, up to which it must be cleared to leave."""
        end_of_choice = False
        # What stands beside the text is judged in the window where its chunk begins: its pieces are then no further apart
        # than those chunks, and the holdback covers them as it covers the text.
        self._pending.extend(segment for segment in chunk.segments if segment.beside)
        for segment in chunk.segments:
            if segment.whole:
                self._whole.setdefault(segment.channel, []).append(segment.text)
                end_of_choice = True
            elif not segment.beside and not self.illegible:
                self._append(segment)
        if chunk.strings or chunk.alternatives:
            self._loose.append((self.length, chunk))
        return BEYOND if end_of_choice else self.length

    def _append(self, segment: Segment) -> None:
        text = self._legible(segment.text)
        self.length += visible(text)
        self.characters += len(text)
        for start in range(0, len(text), _BLOCK):
            self._pending.append(Segment(segment.channel, text[start : start + _BLOCK]))

    def _legible(self, text: str) -> str:
        """*text* up to a run of invisible characters that has grown too long, also over several pieces."""
        if text.isascii():
            self._invisible = 0 if text else self._invisible
            return text
        for run in INVISIBLE_RUNS.finditer(text):
            length = run.end() - run.start() + (0 if run.start() else self._invisible)
            if length > INVISIBLE_LIMIT:
                self.illegible = True
                return text[: run.start()]
            if run.end() == len(text):
                self._invisible = length
                return text
        self._invisible = 0
        return text

    def complete_windows(self) -> Iterator[Window]:
        """The windows beyond whose end there is text already. A text that ends exactly there is left to `last_window`."""
        while self.length > self._boundary:
            fresh, goes_on = self._take(self._boundary - self._start)
            yield self._window(fresh, self._boundary, goes_on)
            self._start = self._boundary
            self._boundary += self._policy.size

    def last_window(self) -> Window:
        """All that is left, when the choice has ended; it may hold no query."""
        fresh: dict[str, list[str]] = {}
        while self._pending:
            segment = self._pending.popleft()
            fresh.setdefault(segment.channel, []).append(segment.text)
        self._taken = self.characters
        window = self._window(fresh, BEYOND, None)
        calls = tuple(query for name, texts in self._whole.items() for query in _whole_queries(name, "".join(texts)))
        return Window(BEYOND, window.queries + calls, self._taken)

    def _take(self, positions: int) -> tuple[dict[str, list[str]], str | None]:
        """Remove the next *positions* positions, with the invisible characters that follow them, channel by channel.

        Also tells which channel goes on right behind the cut. Only there the text is open: a channel that another one has
        interrupted before the cut lies deeper than the holdback reaches, so what touches its end must count now.
        """
        fresh: dict[str, list[str]] = {}
        last = None
        while True:
            segment = self._pending.popleft()
            text = segment.text
            offset = len(text) if segment.beside else offset_of(text, positions)
            if offset:
                fresh.setdefault(segment.channel, []).append(text[:offset])
                self._taken += 0 if segment.beside else offset
                last = last if segment.beside else segment.channel
            if offset < len(text):
                self._pending.appendleft(Segment(segment.channel, text[offset:]))
                return fresh, last if last == segment.channel else None
            positions -= 0 if segment.beside else visible(text)

    def _window(self, fresh: dict[str, list[str]], end: int, goes_on: str | None) -> Window:
        queries = [
            self._channel(name).query("".join(texts), self._policy.context, open_right=name == goes_on)
            for name, texts in fresh.items()
        ]
        queries += self._loose_queries(end)
        return Window(end, tuple(queries), self._taken)

    def _channel(self, name: str) -> _Channel:
        channel = self._channels.get(name)
        if channel is None:
            channel = self._channels[name] = _Channel(name)
        return channel

    def _loose_queries(self, end: int) -> Iterator[Query]:
        """The unknown strings and unchosen tokens of the chunks whose text ends up to *end*."""
        alternatives: dict[str, None] = {}
        while self._loose and self._loose[0][0] <= end:
            _, chunk = self._loose.popleft()
            alternatives.update(dict.fromkeys(chunk.alternatives))
            for text in dict.fromkeys(chunk.strings):
                if text not in self._remembered:
                    yield Query(text, Kind.COMPLETION)
                if len(self._remembered) < _REMEMBERED and len(text) <= _REMEMBERED_LENGTH:
                    self._remembered.add(text)
        if alternatives:
            yield Query("\n".join(alternatives), Kind.COMPLETION)


def _whole_queries(channel: str, text: str) -> Iterable[Query]:
    """A tool call's part as it stands, without its escapes, and its strings alone as a JSON parser reads them."""
    readings = [text, unescape(text)]
    with suppress(ValueError):  # cut off, or no JSON at all
        readings.append("\n".join(strings(parse(text.encode("utf-8", "replace")))))
    for reading in dict.fromkeys(readings):
        if reading:
            yield Query(reading, Kind.COMPLETION, channel=channel, offset=0 if reading is text else None)
