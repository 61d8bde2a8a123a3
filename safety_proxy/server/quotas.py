"""Quotas: what a deployment may use within a minute, counted together by all worker processes of a machine.

Counted in fixed minutes of UTC, as Azure counts tokens: a request is admitted with an estimate of its tokens, and once
it is known what it used, the count of *its* minute is corrected - if that minute is not over.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final, Literal, Protocol

MINUTE: Final = 60
_MOST: Final = 2**40
"""Tokens that one request can stand for, so that no count overflows."""
_PATIENCE: Final = 0.5
"""Seconds to wait for the lock, which is held for microseconds: beyond it, its holder is dead, and counting goes on."""


class Lock(Protocol):
    """A lock of `threading`, or of `multiprocessing` where processes share it."""

    def acquire(self, block: bool = True, timeout: float = -1, /) -> bool:
        """Whether it was got within *timeout* seconds."""
        ...

    def release(self) -> None:
        """Give it back."""


@dataclass(frozen=True, slots=True)
class Standing:
    """How a quota stands. None where there is no limit."""

    remaining_requests: int | None
    remaining_tokens: int | None
    reset: float
    """Seconds until the next minute, more than 0."""


@dataclass(frozen=True, slots=True)
class Admission:
    """A request that was let in, with what it was counted for and how the quota stands since."""

    minute: int
    tokens: int
    standing: Standing


@dataclass(frozen=True, slots=True)
class Refusal:
    """A request that was not let in, and not counted."""

    limit: Literal["requests", "tokens"]
    """Which of the limits it would have exceeded."""
    hopeless: bool
    """It asks for more than a whole minute has."""
    standing: Standing


class Quota:
    """The quota of one deployment. None is no limit.

    Processes that are forked after it was made share it, if *lock* is one that they share.
    """

    def __init__(self, lock: Lock, *, requests: int | None = None, tokens: int | None = None) -> None:
        self.requests, self.tokens = requests, tokens
        self._lock = lock
        self._counts = memoryview(mmap.mmap(-1, mmap.PAGESIZE)).cast("q")
        """The minute that is counted, its requests, its tokens. Anonymous memory: shared with children, in no file."""

    def admit(self, now: float, tokens: int) -> Admission | Refusal:
        """Count a request that will need about *tokens*, unless that would exceed a limit. *now* is in seconds (UTC)."""
        tokens = min(tokens, _MOST)
        with self._held():
            minute = self._turn(now)
            requests_used, tokens_used = self._counts[1], self._counts[2]
            standing = self._standing(now)
            if self.requests is not None and requests_used >= self.requests:
                return Refusal("requests", hopeless=False, standing=standing)
            if self.tokens is not None and tokens_used + tokens > self.tokens:
                return Refusal("tokens", hopeless=tokens > self.tokens, standing=standing)
            self._counts[1], self._counts[2] = requests_used + 1, tokens_used + tokens
            return Admission(minute, tokens, self._standing(now))

    def correct(self, admission: Admission, tokens: int) -> None:
        """The admitted request used *tokens*. Nothing happens if its minute is over."""
        with self._held():
            if self._counts[0] == admission.minute:
                self._counts[2] = max(0, self._counts[2] + min(tokens, _MOST) - admission.tokens)

    def standing(self, now: float) -> Standing:
        """How the quota stands."""
        with self._held():
            self._turn(now)
            return self._standing(now)

    def _turn(self, now: float) -> int:
        """Begin a new minute if it is time; the minute that counts.

        Another process may have read its clock a moment later and begun it already: one minute back still counts there. A
        clock that was set back further begins anew.
        """
        minute = int(now // MINUTE)
        if minute not in {self._counts[0], self._counts[0] - 1}:
            self._counts[0], self._counts[1], self._counts[2] = minute, 0, 0
        return self._counts[0]

    def _standing(self, now: float) -> Standing:
        return Standing(
            None if self.requests is None else max(0, self.requests - self._counts[1]),
            None if self.tokens is None else max(0, self.tokens - self._counts[2]),
            (self._counts[0] + 1) * MINUTE - now,
        )

    @contextmanager
    def _held(self) -> Iterator[None]:
        got = self._lock.acquire(True, _PATIENCE)  # by position: the two kinds of locks name it differently
        try:
            yield
        finally:
            if got:
                self._lock.release()
