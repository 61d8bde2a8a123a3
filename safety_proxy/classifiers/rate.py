"""How many calls a service takes in a time, kept exactly.

The common leaky bucket admits a full bucket and, in the same time, all that drips in: up to twice the rate. Azure counts
calls in a window, so here no window of *per* seconds, wherever it begins, sees more than *calls*.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable

from safety_proxy.classifiers.service import ServiceError


class RateLimit:
    """At most *calls* in any *per* seconds; first come, first served. *clock* is monotonic, in seconds."""

    def __init__(
        self, calls: int, per: float, clock: Callable[[], float], sleep: Callable[[float], Awaitable[object]]
    ) -> None:
        self._per, self._clock, self._sleep = per, clock, sleep
        self._times: deque[float] = deque(maxlen=calls)
        """When the last calls were, or will be, made."""

    async def turn(self, deadline: float) -> None:
        """Wait for one's turn. Raises `ServiceError` at once if it will not come before *deadline*."""
        now = self._clock()
        full = len(self._times) == self._times.maxlen
        mine = max(now, self._times[0] + self._per) if full else now
        if mine > deadline:
            raise ServiceError("rate_limited")
        self._times.append(mine)
        if mine > now:
            await self._sleep(mine - now)
