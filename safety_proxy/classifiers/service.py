"""What an adapter is: it knows the questions and answers of one service, and nothing of time.

An `Adapter` turns queries into `Question`s; `safety_proxy.classifiers.remote.RemoteClassifier` asks them - in time, not too
many at once, again where that may help - and puts the answers together. What goes wrong with a service is a `ServiceError`,
made in one place for all: by `refused` for a status, else with the reason at hand.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from math import isnan
from typing import Final, Protocol

from safety_proxy.errors import SafetyProxyError
from safety_proxy.model import HARMS, Category, Kind, Query, Verdict

_AGAIN: Final = frozenset({408, 425, 429, 500, 502, 503, 504})
"""The statuses that another try may mend."""
_REASONS: Final = {
    401: "unauthorized",
    403: "unauthorized",
    407: "unauthorized",
    408: "timeout",
    424: "server_error",  # of Text Embeddings Inference: the model failed, not the text
    429: "rate_limited",
}


class ServiceError(SafetyProxyError):
    """One question got no answer. *reason* is a `ClassifierError.reason`.

    *again* tells whether the same question may be answered at another try, *pause* for how many seconds the service asked
    to be left alone before that.
    """

    def __init__(self, reason: str, *, again: bool = False, pause: float | None = None) -> None:
        super().__init__(reason)
        self.reason, self.again, self.pause = reason, again, pause


def refused(status: int, headers: Mapping[str, str]) -> ServiceError:
    """What an answer with a *status* other than 200 means. *headers* are looked up as they are: give a caseless mapping."""
    again, pause = status in _AGAIN, pause_of(headers)
    if status in _REASONS:
        return ServiceError(_REASONS[status], again=again, pause=pause)
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return ServiceError("server_error", again=again, pause=pause)
    # A redirect is not followed (text and key would go elsewhere); no other success than 200 is documented anywhere.
    return ServiceError("rejected" if status >= HTTPStatus.BAD_REQUEST else "invalid_answer")


def pause_of(headers: Mapping[str, str], now: Callable[[], float] = time.time) -> float | None:
    """The seconds that a service asks to be left alone for, by whichever header; ``Retry-After`` may have a date.

    Never negative, but infinite where the header says so. None for what is neither a number nor a date.
    """
    for name, unit in (("retry-after-ms", 1000.0), ("x-ms-retry-after-ms", 1000.0), ("Retry-After", 1.0)):
        value = headers.get(name)
        if value is None:
            continue
        try:
            seconds = float(value) / unit
        except ValueError:
            pass
        else:
            return None if isnan(seconds) else max(seconds, 0.0)
        try:
            return max(parsedate_to_datetime(value).timestamp() - now(), 0.0)
        except (ValueError, OverflowError):
            continue
    return None


@dataclass(frozen=True, slots=True)
class Question:
    """One request to a service."""

    route: str
    """What is asked, such as ``text:analyze``: each route of a service has a rate and a circuit breaker of its own."""
    positions: tuple[int, ...]
    """The queries that it is about, by their place among those that were given."""
    categories: frozenset[Category]
    """What stays undecided for them if it gets no answer."""
    ask: Callable[[], Awaitable[Sequence[Verdict]]]
    """Ask once. One verdict for each position. Raises `ServiceError`."""


class Adapter(Protocol):
    """Knows one service."""

    identity: str
    """As `Classifier.identity`."""
    limit: int | None
    """As `Classifier.limit`."""
    overlap: int
    """As `Classifier.overlap`."""
    reads_images: bool
    """As `Classifier.reads_images`."""
    reads_conversation: bool
    """As `Classifier.reads_conversation`."""

    def reports(self, kind: Kind, /) -> frozenset[Category]:
        """As `Classifier.reports`. What no question decided has failed with ``missing_category``."""
        ...

    def questions(self, queries: Sequence[Query], /) -> Sequence[Question]:
        """All that has to be asked about *queries*, none of which is blank.

        Raises `ClassifierError` for a text that it never asks about, such as one beyond its limit.
        """
        ...

    async def close(self) -> None:
        """Let go of connections."""
        ...


def clean(categories: frozenset[Category]) -> Verdict:
    """The verdict on a text in which there is nothing to judge."""
    return Verdict(dict.fromkeys(sorted(categories & HARMS), 0), dict.fromkeys(sorted(categories - HARMS), False))
