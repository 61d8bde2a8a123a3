"""The driver of a `Filter`: the only place with tasks, and the only writer to the client.

To relay a stream:

1. Read from the source while ``wants_more``, in a task of its own.
2. Wait for whichever comes first: what was read, a decision, or the time for a heartbeat.
3. Hand items to ``feed`` and decisions to ``decide``; both return effects.
4. Perform the effects in order: `Classify` asks (a decision that is at hand is fed back at once), `StopReading` drops the
   source, the rest is written - all that one turn brought, in one write.
5. Go on until ``done``; whatever task is left is cancelled.

Failures of the backend and of classifiers arrive as items and decisions; only a bug, a client that has left, or
cancellation raises out of here.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable, Coroutine, Sequence
from contextlib import aclosing
from typing import Protocol

from safety_proxy.events import Classify, Closed, Effect, Item, Shown, StopReading, WindowId
from safety_proxy.model import Decision, Query
from safety_proxy.stream import Filter

Judge = Callable[[Sequence[Query]], Decision | Coroutine[None, None, Decision]]
"""Decides on texts taken together: at once, or later."""


class Sink(Protocol):
    """Where a stream goes. Called by one task only."""

    async def write(self, effects: Sequence[Shown]) -> None:
        """Show what one turn brought; waits while the client is slow."""

    async def heartbeat(self, choice: int) -> None:
        """Tell the client that its stream lives; *choice* is one of which text is held."""


async def relay(
    source: AsyncGenerator[Sequence[Item], None],
    stream_filter: Filter,
    judge: Judge,
    sink: Sink,
    *,
    heartbeat: float | None = None,
) -> None:
    """Run a stream to its end and close its source. *heartbeat*: seconds of silence before the sink is asked for one."""
    async with aclosing(source), asyncio.TaskGroup() as group:
        await _Relay(source, stream_filter, judge, sink, group).run(heartbeat)


class _Relay:
    def __init__(
        self,
        source: AsyncGenerator[Sequence[Item], None],
        stream_filter: Filter,
        judge: Judge,
        sink: Sink,
        group: asyncio.TaskGroup,
    ) -> None:
        self._source, self._filter, self._judge, self._sink, self._group = source, stream_filter, judge, sink, group
        self._reading: asyncio.Task[Sequence[Item]] | None = None
        self._asking: dict[asyncio.Task[Decision], WindowId] = {}
        self._clock = asyncio.get_running_loop().time
        self._shown_at = self._clock()

    async def run(self, heartbeat: float | None) -> None:
        """Turn until the filter is done."""
        try:
            while not self._filter.done:
                if self._reading is None and self._filter.wants_more:
                    self._reading = self._group.create_task(self._read())
                waiting = self._tasks()
                patience = None if heartbeat is None else self._shown_at + heartbeat - self._clock()
                ready, _ = await asyncio.wait(waiting, timeout=patience, return_when=asyncio.FIRST_COMPLETED)
                if ready:
                    await self._perform(self._take(ready))
                else:
                    await self._beat()
        finally:
            for task in self._tasks():
                task.cancel()

    async def _read(self) -> Sequence[Item]:
        """What the next read brings; a source that ends without a word has closed."""
        try:
            return await anext(self._source)
        except StopAsyncIteration:
            return (Closed(),)

    def _tasks(self) -> set[asyncio.Task[Sequence[Item]] | asyncio.Task[Decision]]:
        """What can be waited for."""
        return {*self._asking, self._reading} if self._reading is not None else {*self._asking}

    def _take(self, ready: set[asyncio.Task[Sequence[Item]] | asyncio.Task[Decision]]) -> deque[Effect]:
        """Hand what is ready to the filter: decisions first, for they make room."""
        effects: deque[Effect] = deque()
        for task in [task for task in self._asking if task in ready]:
            effects += self._filter.decide(self._asking.pop(task), task.result())
        if self._reading in ready and self._reading is not None:
            items, self._reading = self._reading.result(), None
            effects += self._filter.feed(items)
        return effects

    async def _perform(self, effects: deque[Effect]) -> None:
        """Carry out effects in order; a decision that is at hand brings more."""
        shown: list[Shown] = []
        while effects:
            match effect := effects.popleft():
                case Classify():
                    decision = self._judge(effect.queries)
                    if isinstance(decision, Decision):
                        effects += self._filter.decide(effect.window, decision)
                    else:
                        self._asking[self._group.create_task(decision)] = effect.window
                case StopReading():
                    if self._reading is not None:
                        self._reading.cancel()
                        self._reading = None
                case _:
                    shown.append(effect)
        if shown:
            await self._sink.write(shown)
            self._shown_at = self._clock()

    async def _beat(self) -> None:
        """The client has heard nothing for a while; tell it that the stream lives, if something is held."""
        choice = self._filter.held_choice
        if choice is not None:
            await self._sink.heartbeat(choice)
        self._shown_at = self._clock()


class Collector:
    """A sink that keeps what it is shown: for whole answers and for tests."""

    def __init__(self) -> None:
        self.effects: list[Shown] = []

    async def write(self, effects: Sequence[Shown]) -> None:
        """Keep."""
        self.effects += effects

    async def heartbeat(self, choice: int) -> None:
        """Nobody is waiting."""


async def once(items: Sequence[Item]) -> AsyncGenerator[Sequence[Item], None]:
    """A source that brings everything in one read."""
    yield items
