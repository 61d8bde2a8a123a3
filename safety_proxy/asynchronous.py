"""Azure's asynchronous filter: text is released at once and judged behind. It breaks the law of `safety_proxy.stream`.

Only a policy with ``stream.mode: asynchronous`` gets it. In place of the law stand these promises:

- The same text is judged in the same windows as by `StreamFilter`, and gets the same decision.
- Text waits once more than one window is unjudged: from the start of a window that is found harmful, at most two windows
  of positions have been released. Chunks that take no position but must be judged (strings of unknown fields, logprobs)
  wait once a window's length of them is unjudged.
- What clients act on is judged first: tool calls, and the backend's ``finish_reason``. So each choice ends once.
- What was decided is told behind the text, with `Offsets`: of a choice that is let pass, each character lies in exactly one.

Frames keep their places; one that carries text is judged first, there being no choice that could be ended for it.
"""

from __future__ import annotations

from collections import deque

from safety_proxy.choice import Choice, Held, PendingWindow
from safety_proxy.events import Annotate, Chunk, Finish, Offsets, Release
from safety_proxy.model import Action, Decision
from safety_proxy.stream import Filter
from safety_proxy.windows import BEYOND, WindowPolicy


class AsynchronousFilter(Filter):
    """Shows a streamed completion while it is judged. *choices* is how many are expected."""

    def _make_choice(self, index: int, policy: WindowPolicy) -> Choice:
        return _AsynchronousChoice(index, policy)


class _AsynchronousChoice(Choice):
    """A choice whose text leaves before it is judged. What is cleared is what has been judged: nothing is held back."""

    def __init__(self, index: int, policy: WindowPolicy) -> None:
        super().__init__(index, policy)
        self._size = policy.size
        self._before = 0
        """Where the window before the next one to be decided starts, in characters."""
        self._start = 0
        """Where the next one to be decided starts."""
        self._asides: deque[tuple[int, int]] = deque()
        """Where chunks stand that took no position and have left, with the characters of each that are unjudged."""
        self._aside = 0

    # ------------------------------------------------------------------------------------------------ deciding

    def _clear(self, window: PendingWindow, decision: Decision) -> None:
        """Tell what was decided, behind the text that it is about."""
        self._cleared = window.end
        while self._asides and self._asides[0][0] <= window.end:
            self._aside -= self._asides.popleft()[1]
        if window.queries:
            offsets = Offsets(self._start, self._start, window.characters)
            self._queue.insert(self._place_after(window), Held(Annotate(self._index, decision, offsets)))
        self._before, self._start = self._start, window.characters

    def _place_after(self, window: PendingWindow) -> int:
        """Where in the queue all text of the window has left, and the backend's finish has not."""
        for place, held in enumerate(self._queue):
            if isinstance(held.item, Chunk) and (held.item.finished or held.start >= window.end < held.end):
                return place
        return len(self._queue)

    def _finish(self, window: PendingWindow, decision: Decision) -> Finish:
        """What was found may begin in the context that was judged along, so the window before is part of the offsets."""
        return Finish(self._index, decision, Offsets(self._before, self._before, window.characters))

    # ------------------------------------------------------------------------------------------------ releasing

    def _may_leave(self, held: Held) -> bool:
        if held.end <= self._cleared:
            return True
        if held.end > self._limit():
            return False
        return self._aside < self._size or not _takes_no_position(held)

    def _limit(self) -> int:
        """Text that ends up to here may leave: not what makes a second window unjudged, nor what is known to be bad."""
        if len(self._windows) > 1:
            first, second = self._windows[0], self._windows[1]
            let_pass = second.decision is None or second.decision.action is Action.ALLOW
            return min(second.end if let_pass else first.end, BEYOND - 1)
        return BEYOND - 1

    def _release(self, held: Held, chunk: Chunk) -> Release:
        if held.end > self._cleared and _takes_no_position(held):
            self._asides.append((held.end, held.text))
            self._aside += held.text
        return Release(chunk, None)


def _takes_no_position(held: Held) -> bool:
    """Whether nothing of the chunk counts among the positions by which released text is limited."""
    return held.end <= max(held.start, 1)
