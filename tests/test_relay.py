"""The relay reads on while verdicts are pending, writes once a turn, and leaves no task behind."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence

import pytest

from safety_proxy.events import Chunk, Closed, End, Finish, Item, Release, Segment, Shown
from safety_proxy.model import ALLOWED, Action, Decision, Query
from safety_proxy.relay import Collector, once, relay
from safety_proxy.stream import StreamFilter
from safety_proxy.windows import WindowPolicy

POLICY = WindowPolicy(first=4, size=4, context=3, holdback=2, in_flight=3)
FILTERED = Decision(Action.FILTER)


def says(text: str) -> Chunk:
    return Chunk(0, {"text": text}, (Segment("content", text),))


STOP = Chunk(0, {"text": ""}, finished=True)
DONE = Closed(complete=True)


class Feed:
    """A source that a test feeds by hand."""

    def __init__(self) -> None:
        self.reads: asyncio.Queue[Sequence[Item]] = asyncio.Queue()
        self.taken = 0
        self.drained = asyncio.Event()
        self.closed = asyncio.Event()

    async def __call__(self) -> AsyncGenerator[Sequence[Item], None]:
        try:
            while True:
                items = await self.reads.get()
                self.taken += 1
                if self.reads.empty():
                    self.drained.set()
                yield items
        finally:
            self.closed.set()


class Watch(Collector):
    """A sink that lets a test wait for what it is shown."""

    def __init__(self) -> None:
        super().__init__()
        self.turns: list[int] = []
        self.beats: list[int] = []
        self.changed = asyncio.Event()

    async def write(self, effects: Sequence[Shown]) -> None:
        await super().write(effects)
        self.turns.append(len(effects))
        self.changed.set()

    async def heartbeat(self, choice: int) -> None:
        self.beats.append(choice)
        self.changed.set()


def allow(_: Sequence[Query]) -> Decision:
    return ALLOWED


async def test_decisions_at_hand_need_no_task_and_one_read_is_one_write() -> None:
    sink = Watch()
    await relay(once([says("abcdefgh"), STOP, DONE]), StreamFilter(POLICY), allow, sink)

    assert [type(effect) for effect in sink.effects] == [Release, Release, End]
    assert sink.turns == [3]


async def test_the_source_is_read_while_a_verdict_is_pending() -> None:
    feed, sink, gate = Feed(), Watch(), asyncio.Event()

    async def judge(_: Sequence[Query]) -> Decision:
        await gate.wait()
        return ALLOWED

    async with asyncio.TaskGroup() as group, asyncio.timeout(5):
        running = group.create_task(relay(feed(), StreamFilter(POLICY), judge, sink))
        reads: tuple[list[Item], ...] = ([says("abcde")], [says("fghi")], [STOP, DONE])
        for items in reads:
            feed.reads.put_nowait(items)
        await feed.drained.wait()
        assert feed.taken == 3
        assert sink.effects == []
        gate.set()
        await running

    assert isinstance(sink.effects[-1], End)


async def test_reading_stops_while_enough_windows_are_being_judged() -> None:
    feed, gate, asked = Feed(), asyncio.Event(), asyncio.Event()

    async def judge(_: Sequence[Query]) -> Decision:
        asked.set()
        await gate.wait()
        return ALLOWED

    async with asyncio.TaskGroup() as group, asyncio.timeout(5):
        running = group.create_task(relay(feed(), StreamFilter(POLICY), judge, Watch()))
        for items in ([says("x" * 40)], [STOP], [DONE]):
            feed.reads.put_nowait(items)
        await asked.wait()
        for _ in range(20):
            await asyncio.sleep(0)
        assert feed.taken == 1
        gate.set()
        await running


async def test_a_violation_drops_the_source_at_once() -> None:
    feed, sink = Feed(), Watch()
    feed.reads.put_nowait([says("abcde")])
    async with asyncio.timeout(5):
        await relay(feed(), StreamFilter(POLICY), lambda _: FILTERED, sink)

    assert sink.effects == [Finish(0, FILTERED), End()]
    assert feed.closed.is_set()


async def test_a_violation_found_while_reading_cancels_the_read() -> None:
    feed, sink, gate = Feed(), Watch(), asyncio.Event()

    async def judge(_: Sequence[Query]) -> Decision:
        await gate.wait()
        return FILTERED

    async with asyncio.TaskGroup() as group, asyncio.timeout(5):
        running = group.create_task(relay(feed(), StreamFilter(POLICY), judge, sink))
        feed.reads.put_nowait([says("abcde")])
        await feed.drained.wait()
        gate.set()
        await running

    assert feed.closed.is_set()


async def test_cancellation_ends_source_and_judges() -> None:
    feed, judging, judged = Feed(), asyncio.Event(), asyncio.Event()

    async def judge(_: Sequence[Query]) -> Decision:
        judging.set()
        try:
            await asyncio.Event().wait()
        finally:
            judged.set()
        return ALLOWED

    running = asyncio.get_running_loop().create_task(relay(feed(), StreamFilter(POLICY), judge, Watch()))
    feed.reads.put_nowait([says("abcde")])
    async with asyncio.timeout(5):
        await judging.wait()
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running

    assert judged.is_set()
    assert feed.closed.is_set()


async def test_a_client_that_left_ends_source_and_judges() -> None:
    feed = Feed()

    class Gone(Collector):
        async def write(self, effects: Sequence[Shown]) -> None:
            raise ConnectionResetError

    feed.reads.put_nowait([says(""), says("abcde")])
    async with asyncio.timeout(5):
        with pytest.raises(ExceptionGroup) as caught:
            await relay(feed(), StreamFilter(POLICY), allow, Gone())

    assert caught.group_contains(ConnectionResetError)
    assert feed.closed.is_set()


async def test_a_source_without_an_end_of_its_own_is_a_failure() -> None:
    sink = Watch()
    await relay(once([says("ab")]), StreamFilter(POLICY), allow, sink)

    end = sink.effects[-1]
    assert isinstance(end, End)
    assert end.failure is not None


async def test_heartbeats_come_while_text_is_held_and_only_then() -> None:
    feed, sink = Feed(), Watch()
    async with asyncio.TaskGroup() as group, asyncio.timeout(5):
        running = group.create_task(relay(feed(), StreamFilter(POLICY), allow, sink, heartbeat=0.01))
        feed.reads.put_nowait([says("")])
        await sink.changed.wait()
        sink.changed.clear()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await sink.changed.wait()
        feed.reads.put_nowait([says("ab")])
        await sink.changed.wait()
        feed.reads.put_nowait([STOP, DONE])
        await running

    assert set(sink.beats) == {0}
    assert [type(effect) for effect in sink.effects] == [Release, Release, Release, End]
