"""Verdicts in the memory of this process."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Final

from cachetools import TTLCache

from safety_proxy.classifiers.cache_keys import LENGTH
from safety_proxy.model import Verdict

_ENTRY: Final = sys.getsizeof(bytes(LENGTH)) + 350
"""Bytes of a key and of what the store holds beside it: three tables, two links and their numbers. Measured."""


class MemoryStore:
    """About *size* bytes of verdicts at most, each for *ttl* seconds of a monotonic *clock*.

    What was used longest ago makes room. A verdict that is found does not live longer for it. For one thread. Never raises.
    """

    def __init__(self, size: int, ttl: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._most = size
        self._verdicts: TTLCache[bytes, Verdict] = TTLCache(size, ttl, timer=clock, getsizeof=size_of)

    def __len__(self) -> int:
        return len(self._verdicts)

    def __contains__(self, key: bytes) -> bool:
        """Whether `get` would find a verdict; asking does not count as use."""
        return key in self._verdicts

    @property
    def size(self) -> int:
        """About how many bytes it holds."""
        return int(self._verdicts.currsize)

    def get(self, key: bytes) -> Verdict | None:
        """The verdict that was put under *key*, if it is still there."""
        return self._verdicts.get(key)

    def put(self, key: bytes, verdict: Verdict) -> None:
        """Keep *verdict* under *key*, unless it alone is larger than the whole store."""
        if size_of(verdict) <= self._most:
            self._verdicts[key] = verdict


def size_of(verdict: Verdict) -> int:
    """About how many bytes of memory an entry with *verdict* takes, its key and the store's own tables included."""
    mappings = (verdict.severities, verdict.detections, verdict.blocklists, verdict.failures, verdict.scores)
    tables = sum(sys.getsizeof(mapping) for mapping in mappings)
    names = sum(map(sys.getsizeof, (*verdict.blocklists, *verdict.scores)))
    numbers = sum(map(sys.getsizeof, verdict.scores.values()))
    spans = sum(sys.getsizeof(s) + sys.getsizeof(s.label) + sys.getsizeof(s.weight) + 64 for s in verdict.spans)
    return _ENTRY + sys.getsizeof(verdict) + tables + names + numbers + sys.getsizeof(verdict.spans) + spans
