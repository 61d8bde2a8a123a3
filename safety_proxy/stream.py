"""The state machine of one streamed response, and the law that it keeps.

    No character of a completion reaches the client before a classifier has seen it and the policy has let it pass.
    No part of a harmful span of up to ``holdback`` positions is released, if the classifier recognises it when whole.

It holds for every choice, every channel, every dialect, every order of verdicts, and every way the bytes were cut.
Plain method calls in, lists of effects out: no waiting, no clock, no logging. One task owns a `StreamFilter`.

Why the second sentence holds: a window's verdict releases text up to its end minus *holdback*. A span of that length
or less which no window judged so far has seen whole and clear of open edges begins behind the released text; and as the
next window is judged with *context* > *holdback* earlier positions, that one sees it so.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Sequence
from typing import assert_never

from safety_proxy.choice import Barrier, Choice, PendingWindow
from safety_proxy.events import (
    Chunk,
    Classify,
    Closed,
    Effect,
    End,
    Failure,
    Frame,
    Item,
    Release,
    StopReading,
    WindowId,
)
from safety_proxy.model import Action, Decision, Kind, Query
from safety_proxy.windows import WindowPolicy

HELD_LIMIT = 1024 * 1024
"""Default for the text withheld per stream, in characters; a long answer fits as a whole."""
_WHOLE_STREAM = -1
"""Stands for the choice in the window ids of frames."""


class Filter(ABC):
    """The course of a streamed completion: its choices and frames, what is being judged, its end.

    *choices* is how many are expected. Inputs never raise, whatever the backend sends. Decisions may arrive in any order;
    they count in window order only. When text may leave is up to the choices, and so to the class that makes them.
    """

    def __init__(self, policy: WindowPolicy, *, choices: int = 1, held_limit: int = HELD_LIMIT) -> None:
        self._policy = policy
        self._expected = choices
        self._held_limit = held_limit
        self._choices: dict[int, Choice] = {}
        self._barriers: deque[Barrier] = deque()
        self._frames = 0
        self._backlog: deque[PendingWindow] = deque()
        self._asked: dict[WindowId, PendingWindow | Barrier] = {}
        self._effects: list[Effect] = []
        self._closed = False
        self._stopped_early = False
        self._end = End()
        self.done = False
        """`End` has been ordered."""

    # ------------------------------------------------------------------------------------------------ inputs

    def feed(self, items: Sequence[Item]) -> list[Effect]:
        """Take what one read brought."""
        for item in items:
            if self._closed:
                break
            match item:
                case Chunk():
                    self._take_chunk(item)
                case Frame():
                    self._take_frame(item)
                case Closed():
                    self._close(item.failure or self._shortfall(item))
                case _:
                    assert_never(item)
        return self._settle()

    def decide(self, window: WindowId, decision: Decision) -> list[Effect]:
        """Take the decision on a window that was asked for; one that was not is ignored."""
        asked = self._asked.pop(window, None)
        if asked is not None:
            asked.decision = decision
            if window.choice != _WHOLE_STREAM:
                self._apply(window.choice)
        return self._settle()

    # ------------------------------------------------------------------------------------------------ observations

    @property
    def wants_more(self) -> bool:
        """Whether to read on: not while enough windows are being judged, and not once nothing can be added."""
        return not self._closed and len(self._asked) < self._policy.in_flight

    @property
    def held_choice(self) -> int | None:
        """A choice of which something is held; None if the client has all that came."""
        return next((index for index, choice in self._choices.items() if choice.holds), None)

    # ------------------------------------------------------------------------------------------------ taking

    @abstractmethod
    def _make_choice(self, index: int, policy: WindowPolicy) -> Choice:
        """A choice that has just begun."""

    def _take_chunk(self, chunk: Chunk) -> None:
        if not 0 <= chunk.choice < self._expected:
            self._close(Failure("the backend sent a choice that was not asked for", "backend_invalid_answer"))
            return
        choice = self._choices.get(chunk.choice) or self._open(chunk.choice)
        if choice.closed:
            return
        self._backlog += (window for window in choice.hold(chunk) if window.decision is None)
        self._apply(chunk.choice)
        if sum(choice.cost for choice in self._choices.values()) > self._held_limit:
            choice.fail("held_limit")
            self._apply(chunk.choice)

    def _open(self, index: int) -> Choice:
        """A choice begins; frames that still wait stand before its first chunk."""
        choice = self._choices[index] = self._make_choice(index, self._policy)
        for barrier in self._barriers:
            choice.put(barrier)
        return choice

    def _take_frame(self, frame: Frame) -> None:
        barrier = Barrier(frame)
        if frame.strings:
            window = WindowId(_WHOLE_STREAM, self._frames)
            self._frames += 1
            self._asked[window] = barrier
            queries = tuple(Query(text, Kind.COMPLETION) for text in dict.fromkeys(frame.strings))
            self._effects.append(Classify(window, queries))
        for choice in self._choices.values():
            choice.put(barrier)
        self._barriers.append(barrier)
        self._pass_frames()

    def _shortfall(self, closed: Closed) -> Failure | None:
        """What is wrong with a stream that told of no failure: a cut stream never ends in ``stop``."""
        ended = bool(self._choices) and all(choice.closed for choice in self._choices.values())
        if ended and (closed.complete or len(self._choices) == self._expected):
            return None
        return Failure("the backend's stream ended before the completion did", "backend_incomplete")

    def _close(self, failure: Failure | None) -> None:
        """Nothing more comes; what arrived is judged as usual."""
        self._closed = True
        still_open = [index for index in range(self._expected) if not self._is_closed(index)]
        self._end = End(failure, tuple(still_open) if failure else ())
        for index in still_open:
            if index in self._choices:
                window = self._choices[index].end_of_text()
                self._backlog += (window,) if window.decision is None else ()
                self._apply(index)

    def _is_closed(self, index: int) -> bool:
        return index in self._choices and self._choices[index].closed

    # ------------------------------------------------------------------------------------------------ ordering

    def _apply(self, index: int) -> None:
        """Act on what is decided of a choice, and release what that clears."""
        choice = self._choices[index]
        if choice.apply() is not None:
            self._stopped_early |= not choice.finished
            self._end = End(self._end.failure, tuple(other for other in self._end.unfinished if other != index))
        self._effects += choice.release()

    def _pass_frames(self) -> None:
        """Release the frames before which nothing is held, and what stood behind them."""
        while self._barriers:
            barrier = self._barriers[0]
            if barrier.waiting or barrier.decision is None:
                return
            self._barriers.popleft()
            if barrier.decision.action is Action.ALLOW:
                self._effects.append(Release(barrier.frame))
            for choice in self._choices.values():
                choice.passed(barrier)
                self._effects += choice.release()

    def _settle(self) -> list[Effect]:
        """Order all that has become possible, and hand out the effects."""
        self._pass_frames()
        while self._backlog and len(self._asked) < self._policy.in_flight:
            window = self._backlog.popleft()
            if not self._choices[window.id.choice].stopped:
                self._asked[window.id] = window
                self._effects.append(Classify(window.id, window.queries))
        if self._stopped_early and not self._closed and all(map(self._is_closed, range(self._expected))):
            self._closed = True
            self._effects.append(StopReading())
        if self._closed and not self.done and not self._barriers and all(c.settled for c in self._choices.values()):
            self.done = True
            self._effects.append(self._end)
        effects, self._effects = self._effects, []
        return effects


class StreamFilter(Filter):
    """Decides what of a streamed completion is shown, and when, by the law. *choices* is how many are expected."""

    def _make_choice(self, index: int, policy: WindowPolicy) -> Choice:
        return Choice(index, policy)
