"""Numbers that worker processes count apart and anybody of them can add up.

Each process writes to a row of its own, so there is no lock; a row lies in anonymous memory that is shared with whoever
is forked after it was made, so there is no file. (prometheus-client's way needs a folder, and an environment variable that
is set before it is imported.)
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from typing import Final, TypeAlias

import orjson

Series: TypeAlias = tuple[str, ...]
"""Names a number: a metric and the values of its labels. All of them come from the configuration, so there are few."""

ROW: Final = 16 * 2**20
"""Bytes of a row, enough for some 100,000 series. Only what is written to takes real memory."""

_WORD: Final = 8
_END, _LOST, _FIRST = 0, 1, 2
"""Words at the start of a row: where the free part begins; how many were lost because it is full; the first record."""


class Row:
    """The numbers of one process. A record is the number, the length of its name, and the name, padded to whole words."""

    def __init__(self, size: int = ROW) -> None:
        memory = mmap.mmap(-1, size)
        self._bytes, self._words = memoryview(memory), memoryview(memory).cast("d")
        self._words[_END] = _FIRST
        self._places: dict[Series, int] = {}
        self._read_to = _FIRST

    def add(self, series: Series, amount: float = 1.0) -> None:
        """Add to a number, which begins at 0. Only the row's owner may."""
        place = self._places.get(series) or self._append(series)
        if place:
            self._words[place] += amount

    def set(self, series: Series, amount: float) -> None:
        """Put a number in place. Only the row's owner may."""
        place = self._places.get(series) or self._append(series)
        if place:
            self._words[place] = amount

    def _append(self, series: Series) -> int:
        """The place of a new record; 0 if the row is full."""
        name = orjson.dumps(series)
        place = int(self._words[_END])
        end = place + 2 + -(-len(name) // _WORD)
        if end > len(self._words):
            self._words[_LOST] += 1
            return 0
        self._words[place + 1] = len(name)
        self._bytes[(place + 2) * _WORD : (place + 2) * _WORD + len(name)] = name
        self._words[_END] = end  # last, so that nobody reads a record that is not whole
        self._places[series] = place
        return place

    def items(self) -> Iterator[tuple[Series, float]]:
        """Every number, from whichever process."""
        end = int(self._words[_END])
        while self._read_to < end:
            place = self._read_to
            length = int(self._words[place + 1])
            name = bytes(self._bytes[(place + 2) * _WORD : (place + 2) * _WORD + length])
            self._places[tuple(orjson.loads(name))] = place
            self._read_to = place + 2 + -(-length // _WORD)
        for series, place in self._places.items():
            yield series, self._words[place]

    @property
    def lost(self) -> float:
        """How many additions found no room."""
        return self._words[_LOST]


class Ledger:
    """The rows of all processes."""

    def __init__(self, writers: int = 1, size: int = ROW) -> None:
        self.rows = tuple(Row(size) for _ in range(writers))

    def totals(self) -> dict[Series, float]:
        """Every number, added up over the processes."""
        totals: dict[Series, float] = {}
        for row in self.rows:
            for series, amount in row.items():
                totals[series] = totals.get(series, 0.0) + amount
        return totals

    @property
    def lost(self) -> float:
        """How many additions found no room."""
        return sum(row.lost for row in self.rows)
