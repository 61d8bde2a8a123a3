from __future__ import annotations

import asyncio

import pytest

from safety_proxy.classifiers.flights import Flight, Flights, Landing
from safety_proxy.errors import ClassifierError
from safety_proxy.model import Verdict
from tests.classifiers.judge import settle

A, B, C = b"a", b"b", b"c"
VERDICT = Verdict()


class Work:
    """A call that lands when it is told to."""

    def __init__(self, *keys: bytes) -> None:
        self.keys = keys
        self.gate = asyncio.Event()
        self.begun = self.cancelled = False

    async def __call__(self) -> Landing:
        self.begun = True
        try:
            await self.gate.wait()
        except asyncio.CancelledError:
            self.cancelled = True
            raise
        return dict.fromkeys(self.keys, VERDICT)


async def ride(flights: Flights, *boarded: Flight) -> list[Landing]:
    await flights.ride(boarded)
    return [flight.landing for flight in boarded]


def reasons(landing: Landing) -> list[str]:
    return [outcome.reason for outcome in landing.values() if isinstance(outcome, ClassifierError)]


async def test_all_passengers_see_it_land() -> None:
    flights, work = Flights(), Work(A, B)
    flight = flights.start([A, B], work)
    assert flights.find(A) is flights.find(B) is flight
    assert flights.find(C) is None
    passengers = [asyncio.create_task(ride(flights, flight)) for _ in range(3)]
    await settle()
    work.gate.set()
    assert await asyncio.gather(*passengers) == [[{A: VERDICT, B: VERDICT}]] * 3
    assert flights.find(A) is flights.find(B) is None
    await settle()
    assert len(flights) == 0


async def test_it_goes_on_when_who_asked_first_leaves() -> None:
    flights, work = Flights(), Work(A)
    flight = flights.start([A], work)
    first, second = (asyncio.create_task(ride(flights, flight)) for _ in range(2))
    await settle()
    first.cancel()
    await settle()
    assert first.cancelled()
    assert flights.find(A) is flight
    work.gate.set()
    assert await second == [{A: VERDICT}]


async def test_it_is_called_off_when_the_last_one_leaves_who_sees_it_end() -> None:
    flights, work = Flights(), Work(A)
    flight = flights.start([A], work)
    passengers = [asyncio.create_task(ride(flights, flight)) for _ in range(2)]
    await settle()
    for passenger in passengers:
        passenger.cancel()
    with pytest.raises(asyncio.CancelledError):
        await passengers[0]
    with pytest.raises(asyncio.CancelledError):
        await passengers[1]
    assert work.cancelled
    assert flight.task.done()
    assert flights.find(A) is None


async def test_one_that_never_began_is_called_off_without_a_trace() -> None:
    flights, work = Flights(), Work(A)
    flight = flights.start([A], work)
    flight.task.cancel()
    await settle()
    assert not work.begun
    assert reasons(flight.landing) == ["internal"]
    assert len(flights) == 0
    assert flights.find(A) is None


async def test_nobody_boards_once_it_has_landed() -> None:
    flights = Flights()
    found: list[Flight | None] = []

    async def land() -> Landing:
        asyncio.get_running_loop().call_soon(lambda: found.append(flights.find(A)))  # the very next thing that happens
        return {A: VERDICT}

    await ride(flights, flights.start([A], land))
    assert found == [None]


async def test_what_is_being_called_off_is_not_joined_and_does_not_take_its_successor_along() -> None:
    flights, stubborn = Flights(), asyncio.Event()

    async def lingering() -> Landing:
        try:
            await asyncio.Event().wait()
        finally:
            await stubborn.wait()
        return {}

    leaving = asyncio.create_task(ride(flights, flights.start([A], lingering)))
    await settle()
    leaving.cancel()
    await settle()
    assert not leaving.done()
    assert flights.find(A) is None
    work = Work(A)
    successor = flights.start([A], work)
    staying = asyncio.create_task(ride(flights, successor))
    await settle()
    stubborn.set()
    await settle()
    assert leaving.cancelled()
    assert flights.find(A) is successor
    work.gate.set()
    assert await staying == [{A: VERDICT}]


async def test_who_waits_for_several_leaves_only_those_empty_that_nobody_else_waits_for() -> None:
    flights = Flights()
    works = [Work(A), Work(B)]
    one, other = flights.start([A], works[0]), flights.start([B], works[1])
    both, staying = asyncio.create_task(ride(flights, one, other)), asyncio.create_task(ride(flights, other))
    await settle()
    both.cancel()
    await settle()
    assert [work.cancelled for work in works] == [True, False]
    works[1].gate.set()
    assert await staying == [{B: VERDICT}]


async def test_who_waits_at_the_end_finds_an_error_for_each_key() -> None:
    flights, work = Flights(), Work(A, B)
    passenger = asyncio.create_task(ride(flights, flights.start([A, B], work)))
    await settle()
    await flights.close()
    (landing,) = await passenger
    assert reasons(landing) == ["internal", "internal"]
    assert work.cancelled
    await settle()
    assert len(flights) == 0
