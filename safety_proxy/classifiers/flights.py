"""Verdicts that are being found for everybody who waits for them, not only for who asked first.

A flight is one call about several texts. Its passengers wait for it, each in a task of its own; it goes on as long as there
is one, and is called off when the last one leaves. The last one sees it end: no flight outlives all of its passengers.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from functools import partial
from typing import TypeAlias

from safety_proxy.errors import ClassifierError
from safety_proxy.model import Verdict

Outcome: TypeAlias = Verdict | ClassifierError
"""What becomes of one text."""
Landing: TypeAlias = Mapping[bytes, Outcome]
"""What a flight brings: an outcome for each of its keys."""


class Flight:
    """One call under way about *keys*. `Flights` makes it."""

    task: asyncio.Task[Landing]

    def __init__(self, keys: Collection[bytes]) -> None:
        self.keys = keys
        self.passengers = 0

    @property
    def landing(self) -> Landing:
        """What it brought, once its task is done; a flight that was called off under its passengers: ``internal`` errors."""
        return dict.fromkeys(self.keys, ClassifierError("internal")) if self.task.cancelled() else self.task.result()


class Flights:
    """The flights of one classifier, by the keys of the texts that they are about: at most one for each key."""

    def __init__(self) -> None:
        self._by_key: dict[bytes, Flight] = {}
        self._under_way: set[Flight] = set()

    def __len__(self) -> int:
        return len(self._under_way)

    def find(self, key: bytes) -> Flight | None:
        """The flight to join for *key*. It has to be given to `ride` before anything else is waited for."""
        return self._by_key.get(key)

    def start(self, keys: Collection[bytes], work: Callable[[], Awaitable[Landing]]) -> Flight:
        """A flight that does *work*, which raises nothing, for *keys* without one. To be given to `ride`, as with `find`."""
        flight = Flight(keys)
        # No task group can hold it: that of who asked first would end with him. `ride` waits for it in its place.
        flight.task = asyncio.get_running_loop().create_task(self._fly(flight, work))
        flight.task.add_done_callback(partial(self._landed, flight))
        self._under_way.add(flight)
        self._by_key.update(dict.fromkeys(keys, flight))
        return flight

    async def ride(self, flights: Collection[Flight]) -> None:
        """Wait until all of *flights* have landed. Who is cancelled here leaves them, and calls off those left empty."""
        for flight in flights:
            flight.passengers += 1
        try:
            await asyncio.wait([flight.task for flight in flights])
        finally:
            for flight in flights:
                flight.passengers -= 1
            await self._call_off([flight for flight in flights if not flight.passengers])

    async def close(self) -> None:
        """Call off all flights."""
        await self._call_off(list(self._under_way))

    async def _fly(self, flight: Flight, work: Callable[[], Awaitable[Landing]]) -> Landing:
        try:
            return await work()
        finally:
            self._forget(flight)  # before anybody else runs: an error is for those who are on board, and nobody later

    async def _call_off(self, flights: Iterable[Flight]) -> None:
        leaving = [flight for flight in flights if not flight.task.done()]
        for flight in leaving:
            flight.task.cancel()
            self._forget(flight)
        if leaving:
            await asyncio.wait([flight.task for flight in leaving])

    def _landed(self, flight: Flight, _task: asyncio.Task[Landing]) -> None:
        self._under_way.discard(flight)
        self._forget(flight)  # one that never began has not done so

    def _forget(self, flight: Flight) -> None:
        for key in flight.keys:
            if self._by_key.get(key) is flight:
                del self._by_key[key]
