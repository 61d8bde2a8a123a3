from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safety_proxy.classifiers.rate import RateLimit
from safety_proxy.classifiers.service import ServiceError
from tests.classifiers.virtual_time import in_virtual_time

FOREVER = float("inf")


class Gate:
    """A rate limit, and the times at which calls came through, with their numbers."""

    def __init__(self, calls: int, per: float) -> None:
        loop = asyncio.get_running_loop()
        self.clock = loop.time
        self.limit = RateLimit(calls, per, loop.time, asyncio.sleep)
        self.through: list[tuple[float, int]] = []

    async def call(self, number: int, deadline: float = FOREVER, *, after: float = 0.0) -> None:
        await asyncio.sleep(after)
        await self.limit.turn(deadline)
        self.through.append((self.clock(), number))


async def through(gate: Gate, pauses: list[float]) -> list[tuple[float, int]]:
    """When those come through who arrive with these pauses between them."""
    arrivals = [sum(pauses[: i + 1]) for i in range(len(pauses))]
    async with asyncio.TaskGroup() as group:
        for number, after in enumerate(arrivals):
            group.create_task(gate.call(number, after=after))
    return gate.through


pauses = st.lists(st.floats(0, 5).map(lambda value: round(value, 3)), max_size=40)


@given(st.integers(1, 5), st.floats(0.1, 10), pauses)
def test_no_window_sees_more_than_so_many_calls(calls: int, per: float, pauses: list[float]) -> None:
    @in_virtual_time
    async def scenario() -> None:
        times = [time for time, _ in await through(Gate(calls, per), pauses)]
        assert len(times) == len(pauses)
        assert all(later - earlier >= per - 1e-6 for earlier, later in zip(times, times[calls:], strict=False))

    scenario()


@given(st.integers(1, 5), st.floats(0.1, 10), pauses)
def test_first_come_first_served(calls: int, per: float, pauses: list[float]) -> None:
    @in_virtual_time
    async def scenario() -> None:
        numbers = [number for _, number in await through(Gate(calls, per), [pause + 0.001 for pause in pauses])]
        assert numbers == sorted(numbers)

    scenario()


@in_virtual_time
async def test_nobody_waits_while_there_is_room() -> None:
    gate = Gate(3, 60.0)
    begun = gate.clock()
    assert await through(gate, [0.0, 1.0, 1.0]) == [(begun, 0), (begun + 1, 1), (begun + 2, 2)]


@in_virtual_time
async def test_a_call_waits_until_the_window_has_moved_past_an_earlier_one() -> None:
    gate = Gate(2, 10.0)
    begun = gate.clock()
    assert [time - begun for time, _ in await through(gate, [0.0, 4.0, 1.0, 0.0, 0.0])] == [0, 4, 10, 14, 20]


@in_virtual_time
async def test_whose_turn_comes_after_the_deadline_is_refused_at_once() -> None:
    gate = Gate(1, 10.0)
    begun = gate.clock()
    await gate.call(0)
    with pytest.raises(ServiceError) as refused:
        await gate.call(1, begun + 9.9)
    assert (refused.value.reason, refused.value.again) == ("rate_limited", False)
    assert gate.clock() == begun


@in_virtual_time
async def test_who_was_refused_takes_no_turn_from_others() -> None:
    gate = Gate(1, 10.0)
    begun = gate.clock()
    await gate.call(0)
    for number in range(100):
        with pytest.raises(ServiceError):
            await gate.call(number, begun + 1)
    await gate.call(1)
    assert gate.through[-1] == (begun + 10, 1)


@in_virtual_time
async def test_who_leaves_while_waiting_does_not_bring_the_others_forward_too_early() -> None:
    gate = Gate(1, 10.0)
    begun = gate.clock()
    await gate.call(0)
    async with asyncio.TaskGroup() as group:
        leaving = group.create_task(gate.call(1))
        staying = group.create_task(gate.call(2))
        await asyncio.sleep(1)
        leaving.cancel()
    assert staying.done()
    assert gate.through == [(begun, 0), (begun + 20, 2)]
