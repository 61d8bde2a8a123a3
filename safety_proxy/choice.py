"""One choice of a stream: what is held of it, how far it is cleared, and the frames that stand between its chunks."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import NamedTuple

from safety_proxy.events import Annotate, Chunk, Finish, Frame, Release, WindowId
from safety_proxy.model import ALLOWED, Action, Decision, Query
from safety_proxy.windows import BEYOND, Axis, Window, WindowPolicy

_CHUNK_COST = 16
"""Characters that a held chunk counts on top of its text, so that empty chunks cannot pile up either."""


class PendingWindow:
    """A window on its way: cut, asked, decided, applied - applied in the order of cutting."""

    __slots__ = ("characters", "decision", "end", "id", "queries")

    def __init__(self, name: WindowId, window: Window, decision: Decision | None) -> None:
        self.id, self.decision = name, decision
        self.end, self.characters = window.end, window.characters
        self.queries: tuple[Query, ...] = window.queries


class Barrier:
    """A frame that waits: for what came before it in *waiting* choices, and for its own decision if it carries text."""

    __slots__ = ("decision", "frame", "waiting")

    def __init__(self, frame: Frame) -> None:
        self.frame = frame
        self.decision: Decision | None = None if frame.strings else ALLOWED
        self.waiting = 0


class Held(NamedTuple):
    """A chunk with the positions where its text starts and ends, a frame between chunks, or what we say of the choice."""

    item: Chunk | Barrier | Annotate | Finish
    start: int = 0
    end: int = 0
    text: int = 0
    """Characters that must be judged before or after it leaves, those that take no position included."""
    cost: int = 0


class Choice:
    """State of one choice; `safety_proxy.stream` decides when what is done."""

    def __init__(self, index: int, policy: WindowPolicy) -> None:
        self._index = index
        self._holdback = policy.holdback
        self._axis = Axis(policy)
        self._queue: deque[Held] = deque()
        self._windows: deque[PendingWindow] = deque()
        self._number = 0
        self._cleared = 0
        """Text that ends up to here may be released."""
        self._decisions: deque[tuple[int, Decision]] = deque()
        """Decisions on the windows in which held text may lie, with their ends."""
        self.cost = 0
        """What is held, in characters."""
        self.closed = False
        """Takes no more input."""
        self.finished = False
        """The backend gave its finish_reason."""
        self.stopped = False
        """We have decided to end it."""

    @property
    def holds(self) -> bool:
        """Whether anything has not reached the client."""
        return bool(self._queue)

    @property
    def settled(self) -> bool:
        """Nothing is held, nothing is being judged."""
        return not self._queue and not self._windows

    # ------------------------------------------------------------------------------------------------ taking

    def hold(self, chunk: Chunk) -> Iterator[PendingWindow]:
        """Take a chunk; the windows that it completes."""
        start = self._axis.length
        end = self._axis.add(chunk)
        text = sum(len(segment.text) for segment in chunk.segments)
        text += sum(map(len, chunk.strings)) + sum(map(len, chunk.alternatives))
        if chunk.finished:
            self.finished = True
            end = BEYOND
        elif text:
            end = max(end, 1)  # what takes no position must be judged, too, before it leaves
        self._queue.append(Held(chunk, start, end, text, text + _CHUNK_COST))
        self.cost += text + _CHUNK_COST
        for window in self._axis.complete_windows():
            yield self._cut(window)
        if self._axis.illegible:
            self.fail("invisible_characters")
        elif chunk.finished:
            yield self.end_of_text()

    def end_of_text(self) -> PendingWindow:
        """No more text will come; the last window."""
        self.closed = True
        return self._cut(self._axis.last_window())

    def fail(self, reason: str) -> None:
        """End the choice for a fault of its own, once what came before is decided; one that takes no more input stays."""
        if not self.closed:
            self.closed = True
            self._cut(Window(BEYOND, (), self._axis.characters), Decision(Action.FAIL, error=reason))

    def put(self, barrier: Barrier) -> None:
        """A frame came after all that is held."""
        barrier.waiting += bool(self._queue)
        self._queue.append(Held(barrier))

    def _cut(self, window: Window, decision: Decision | None = None) -> PendingWindow:
        if decision is None and not window.queries:
            decision = ALLOWED
        pending = PendingWindow(WindowId(self._index, self._number), window, decision)
        self._number += 1
        self._windows.append(pending)
        return pending

    # ------------------------------------------------------------------------------------------------ deciding

    def apply(self) -> Decision | None:
        """Act on the decisions at hand, in window order; the decision that ends the choice, if one does."""
        while self._windows and (decision := self._windows[0].decision) is not None:
            window = self._windows.popleft()
            if decision.action is not Action.ALLOW:
                self._stop(self._finish(window, decision))
                return decision
            self._clear(window, decision)
        return None

    def _clear(self, window: PendingWindow, decision: Decision) -> None:
        """The next window in order is allowed."""
        self._decisions.append((window.end, decision))
        self._cleared = BEYOND if window.end == BEYOND else max(0, window.end - self._holdback)

    def _finish(self, _window: PendingWindow, decision: Decision) -> Finish:
        """How the choice ends because of a window."""
        return Finish(self._index, decision)

    def _stop(self, finish: Finish) -> None:
        """Our end takes the place of the first chunk that is not cleared; that and all later ones are dropped."""
        self.closed = self.stopped = True
        self._windows.clear()
        queue = list(self._queue)
        withheld = (i for i, held in enumerate(queue) if isinstance(held.item, Chunk) and held.end > self._cleared)
        place = next(withheld, len(queue))
        frames = [held for held in queue[place:] if isinstance(held.item, Barrier)]
        self._queue = deque([*queue[:place], Held(finish), *frames])
        self.cost = sum(held.cost for held in self._queue)

    # ------------------------------------------------------------------------------------------------ releasing

    def release(self) -> Iterator[Release | Annotate | Finish]:
        """The one gate: what the client sees of this choice passes here. Ends at a frame, which must leave first."""
        while self._queue:
            held = self._queue[0]
            if isinstance(held.item, Barrier) or not self._may_leave(held):
                return
            yield self._release(held, held.item) if isinstance(held.item, Chunk) else held.item
            self.cost -= held.cost
            self._drop_head()

    def _may_leave(self, held: Held) -> bool:
        """The law: judged, let pass, and the holdback has moved on."""
        return held.end <= self._cleared

    def _release(self, held: Held, chunk: Chunk) -> Release:
        """How a chunk leaves."""
        return Release(chunk, self._decisions_on(held))

    def passed(self, barrier: Barrier) -> None:
        """A frame has left that may stand at the head."""
        if self._queue and self._queue[0].item is barrier:
            self._drop_head()

    def _drop_head(self) -> None:
        """Remove the first entry; a frame that comes to the head no longer waits for this choice."""
        self._queue.popleft()
        if self._queue and isinstance(self._queue[0].item, Barrier):
            self._queue[0].item.waiting -= 1

    def _decisions_on(self, held: Held) -> tuple[Decision, ...]:
        """The decisions on the windows that the chunk's text lies in; those before them are forgotten."""
        if not held.end:
            return ()
        first = min(held.start + 1, held.end)
        while self._decisions[0][0] < first:
            self._decisions.popleft()
        found = []
        for end, decision in self._decisions:
            found.append(decision)
            if end >= held.end:
                break
        return tuple(found)
