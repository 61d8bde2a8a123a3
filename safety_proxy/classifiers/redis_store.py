"""Verdicts in a Redis that several machines share. It is an aid and never a condition: without it, verdicts are asked for.

Keys are the HMACs of `safety_proxy.classifiers.cache_keys`, and a verdict quotes no text, so Redis holds none. Whoever can
write to it can plant verdicts, though: it has to be as well guarded as the proxy itself.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Final, TypeVar

import structlog

from safety_proxy.classifiers.verdict_json import read, write
from safety_proxy.errors import ConfigError
from safety_proxy.model import Verdict

PREFIX: Final = "safety-proxy:verdict:"
_CONNECTIONS: Final = 16
"""Of one process. Each is used for about a millisecond at a time."""
_PAUSE: Final = 1.0
"""Seconds for which a Redis that could not be reached is passed by without a try: else each text would wait for it."""
_SILENCE: Final = 60.0
"""Seconds between two complaints of the same kind."""

if TYPE_CHECKING:
    from redis.asyncio import Redis

_T = TypeVar("_T")

log = structlog.get_logger("safety_proxy.cache")


class RedisStore:
    """A `safety_proxy.classifiers.cache.Store` at *url* (``redis://``, ``rediss://``, ``unix://``) under keys with *prefix*.

    A verdict is kept for *ttl* seconds from when it was written. Each method waits at most *timeout* seconds; what is slow,
    down, full or odd is a miss, and is logged once in a while. After a failure to reach it, Redis is left alone for a second
    of the monotonic *clock*, then tried again.

    Raises `ConfigError` if the library ``redis`` is not installed or *url* makes no sense.
    """

    def __init__(
        self,
        url: str,
        *,
        ttl: float,
        prefix: str = PREFIX,
        timeout: float = 0.1,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._redis, self._refusal = _client(url, timeout)
        self._milliseconds = max(round(ttl * 1000), 1)
        self._prefix, self._timeout, self._clock = prefix, timeout, clock
        self._resting_until = float("-inf")
        self._reading, self._writing = _Complaints("read", clock), _Complaints("write", clock)

    async def get_many(self, keys: Sequence[bytes], /) -> Sequence[Verdict | None]:
        """What is kept under each of *keys*, in order; None for what is not, or cannot be had in time. Never raises."""
        names = [self._name(key) for key in keys]
        values = await self._guarded(lambda: self._redis.mget(names), self._reading) if names else []
        if not isinstance(values, list) or len(values) != len(keys):
            return [None] * len(keys)
        return [read(key, value) if isinstance(value, bytes) else None for key, value in zip(keys, values, strict=True)]

    async def put_many(self, verdicts: Mapping[bytes, Verdict], /) -> None:
        """Keep each verdict under its key, if it can be done in time. Never raises."""
        written = [(self._name(key), write(key, verdict)) for key, verdict in verdicts.items()]
        pipeline = self._redis.pipeline(transaction=False)
        for name, data in written:
            if data is not None:
                pipeline.set(name, data, px=self._milliseconds)
        if len(pipeline):
            await self._guarded(pipeline.execute, self._writing)

    async def close(self) -> None:
        """Let go of connections."""
        await self._redis.aclose()

    def _name(self, key: bytes) -> str:
        return self._prefix + key.hex()

    async def _guarded(self, call: Callable[[], Awaitable[_T]], complaints: _Complaints) -> _T | None:
        """What *call* brings, or None: a Redis in trouble is no trouble of ours."""
        if self._clock() < self._resting_until:
            return None
        try:
            async with asyncio.timeout(self._timeout):
                result = await call()
        except self._refusal as error:  # it is there, and full, or read-only
            complaints.complain(error)
        except Exception as error:  # noqa: BLE001 - whatever it is, the verdict is asked for
            self._resting_until = self._clock() + _PAUSE
            complaints.complain(error)
        else:
            complaints.relent()
            return result
        return None


class _Complaints:
    """What the log hears of one kind of trouble: once in a while that there is some, and once that it is over."""

    def __init__(self, operation: str, clock: Callable[[], float]) -> None:
        self._operation, self._clock = operation, clock
        self._silent_until = float("-inf")
        self._is_told = False

    def complain(self, error: Exception) -> None:
        if self._clock() >= self._silent_until:
            # Not its words: they may hold an address.
            log.warning("cache.redis_failed", operation=self._operation, error=type(error).__name__)
            self._silent_until = self._clock() + _SILENCE
            self._is_told = True

    def relent(self) -> None:
        if self._is_told:
            log.info("cache.redis_is_back", operation=self._operation)
            self._is_told = False


def _client(url: str, timeout: float) -> tuple[Redis, type[Exception]]:
    """A client that has not connected yet, and the error by which it tells that Redis answered and refused."""
    try:
        from redis.asyncio import BlockingConnectionPool, Redis  # noqa: PLC0415 - an optional library
        from redis.asyncio.retry import Retry  # noqa: PLC0415 - an optional library
        from redis.backoff import NoBackoff  # noqa: PLC0415 - an optional library
        from redis.exceptions import ResponseError  # noqa: PLC0415 - an optional library
    except ImportError:
        raise ConfigError("needs a library: pip install 'safety-proxy[redis]'", field="cache.redis") from None
    try:
        pool = BlockingConnectionPool.from_url(
            url,
            max_connections=_CONNECTIONS,
            timeout=timeout,
            retry=Retry(NoBackoff(), 0),  # the time is too short for another try
            protocol=2,  # all that is needed; with 3 come messages that nobody asked for
        )
    except ValueError:  # its words may hold the password
        raise ConfigError("is no URL of a Redis", field="cache.redis.url") from None
    return Redis.from_pool(pool), ResponseError
