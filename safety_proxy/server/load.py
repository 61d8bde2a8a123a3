"""How much goes on at a time; what comes on top is asked to come back."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from safety_proxy.errors import RequestError


@dataclass(slots=True)
class Load:
    """How much is going on at a time; above it, callers are asked to come back."""

    max_requests: int
    max_streams: int
    requests: int = 0
    streams: int = 0
    tell: Callable[[int, int], None] = lambda _requests, _streams: None
    """Told how many are open whenever that changes."""

    @contextmanager
    def request(self) -> Iterator[None]:
        """One call without an open stream. Raises `RequestError` 503."""
        if self.requests >= self.max_requests:
            raise _overloaded()
        self._open(1, 0)
        try:
            yield
        finally:
            self._open(-1, 0)

    @contextmanager
    def stream(self) -> Iterator[None]:
        """One open stream; it no longer counts as a call. Raises `RequestError` 503."""
        self.require_stream()
        self._open(-1, 1)
        try:
            yield
        finally:
            self._open(1, -1)

    def _open(self, requests: int, streams: int) -> None:
        self.requests += requests
        self.streams += streams
        self.tell(self.requests, self.streams)

    def require_stream(self) -> None:
        """Raise `RequestError` 503 if no further stream may be opened."""
        if self.streams >= self.max_streams:
            raise _overloaded()


def _overloaded() -> RequestError:
    return RequestError("too many requests at a time", status=503, code="overloaded", retry_after=1)
