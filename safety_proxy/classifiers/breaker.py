"""A circuit breaker: who has failed several times in a row is left alone for a while, then tried with one call.

Our own, because the libraries for it let every waiting call through once the while is over, or know no event loop; a
service that is coming back would be met by all of them at once.
"""

from __future__ import annotations

from collections.abc import Callable

from safety_proxy.classifiers.base import State


class CircuitBreaker:
    """Opens after *failures* calls in a row that failed, and closes as soon as one succeeds.

    While it is open, one call is let through *probe* seconds after it opened, and another as long after each of these that
    failed. *clock* is monotonic, in seconds. *tell* hears of each change.
    """

    def __init__(self, failures: int, probe: float, clock: Callable[[], float], tell: Callable[[State], None]) -> None:
        self._limit, self._pause, self._clock, self._tell = failures, probe, clock, tell
        self._failed = 0
        self._until = 0.0
        self._era = 1
        """Goes up with each change. A call of an earlier era that fails says nothing: it was made to the service as it was
        then, and it is not the one that tries it now."""
        self.state = State.CLOSED

    @property
    def refuses(self) -> bool:
        """Whether a call would be refused now."""
        return self.state is State.HALF_OPEN or (self.state is State.OPEN and self._clock() < self._until)

    def admit(self) -> int | None:
        """A call may be made now, unless this is None; afterwards its end is told, with the number that it is given here."""
        if self.refuses:
            return None
        if self.state is State.OPEN:
            self._turn(State.HALF_OPEN)
        return self._era

    def succeeded(self) -> None:
        """A call got an answer; whichever it was, the service is there."""
        self._failed = 0
        self._turn(State.CLOSED)

    def failed(self, call: int) -> None:
        """The *call* got none."""
        if call != self._era:
            return
        self._failed += 1
        if self.state is not State.CLOSED or self._failed >= self._limit:
            self._until = self._clock() + self._pause
            self._turn(State.OPEN)

    def given_up(self, call: int) -> None:
        """The *call* was called off, which says nothing of the service. If it was the one let through, another may be."""
        if call == self._era and self.state is State.HALF_OPEN:
            self._turn(State.OPEN)

    def _turn(self, state: State) -> None:
        if state is not self.state:
            self.state = state
            self._era += 1
            self._tell(state)
