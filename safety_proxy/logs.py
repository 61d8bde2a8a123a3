"""Structured logs, set up once, and the reason why no prompt, completion or key can get into them.

Redaction is structural: an event is one of the names in `EVENTS` with fields out of `FIELDS`, and none of those is made
for text. Behind that stands a guard for mistakes: other names and fields are dropped (the line says which), strings are
cut at 200 characters, anything but plain values is replaced by the name of its type. Exceptions are told by their class
and the places they came through, never by their words or local variables. What libraries write to `logging` is reduced
to level, logger, place and exception class: aiohttp logs malformed requests with their bytes, asyncio the exceptions of
lost tasks, azure-core addresses.
"""

from __future__ import annotations

import logging
import sys
import traceback
from collections.abc import Iterator, Mapping
from enum import Enum
from pathlib import PurePath
from typing import Final, TextIO

import orjson
import structlog
from structlog.types import EventDict, Processor, WrappedLogger

EVENTS: Final[Mapping[str, str]] = {
    "server.started": "the sockets are open",
    "server.ready": "every deployed policy's classifiers have answered once",
    "server.draining": "told to stop: new requests are refused, open ones finish",
    "server.stopped": "all requests have ended, or the time for it was over",
    "config.warning": "the configuration holds something that is allowed but probably not meant",
    "request.served": "a request has been answered, or its client has left: one line for each",
    "request.crashed": "a mistake of ours, with the places it came through",
    "classifier.not_ready": "a classifier has not yet answered for the first time",
    "classifier.failed": "a classifier gave no verdict",
    "classifier.breaker": "the circuit breaker for a route of a classifier's service has opened, half opened or closed",
    "cache.redis_failed": "Redis is slow, down or full and is passed by; told once a minute",
    "cache.redis_is_back": "Redis works again",
    "store.failed": "the store of blocklists cannot be read; the lists stay as they were last; told once",
    "store.recovered": "the store of blocklists can be read again",
    "audit.failed": "lines of the audit log are lost: the file cannot be written to, or not fast enough; told once",
    "audit.recovered": "the audit log is written again",
    "audit.broken": "a mistake of ours while a line of the audit log was made; the request was not touched",
    "shadow.failed": "a mistake of ours, or of a classifier, while a policy on trial was judging; no request was touched",
    "classifier.broken": "a classifier failed in a way that only a mistake in it explains",
    "library.message": "a library logged something; what it said is not shown",
    "log.unlisted": "an event was logged under a name that is not in this list",
}
"""Every event that is logged: its name and what it means."""

FIELDS: Final[Mapping[str, str]] = {
    # Where the line comes from.
    "timestamp": "UTC, ISO 8601",
    "level": "debug, info, warning, error or critical",
    "event": "one of the events",
    "dropped": "names of fields that the guard kept out",
    "logger": "of library.message: whose message it was",
    "place": "of library.message: file, line and function it was logged from",
    # Who and what.
    "request_id": "id of the request, as in the header x-request-id",
    "route": "the route's pattern, not the client's path; of a classifier, what its service was asked",
    "method": "HTTP method",
    "dialect": "wire format of the endpoint",
    "deployment": "name of the deployment",
    "backend": "name of the backend",
    "classifier": "name of the classifier",
    "policy": "identity of the policy (name@digest)",
    "caller": "name of the client's key",
    "stream": "whether a stream was asked for",
    # What came of it.
    "status": "HTTP status of the answer",
    "code": "error code of the answer",
    "reason": "reason code of a missing verdict",
    "state": "closed, open or half_open",
    "operation": "what Redis was asked: get or put",
    "decision": "allow, block or error: what the filtering service answered",
    "prompt_decision": "allow, content_filter or content_filter_error",
    "completion_decision": "the same for the completion; several, joined by +, where choices differ",
    "client_left": "whether the client closed the connection",
    "milliseconds": "time it took",
    "choices": "number of choices",
    "windows": "number of windows judged",
    "characters": "length of the text that was judged",
    "released": "characters released",
    "withheld": "characters withheld",
    "held_seconds": "longest time that text was withheld",
    # The service itself.
    "version": "version of the program",
    "host": "address that is bound",
    "port": "port that is bound",
    "workers": "number of processes",
    "pid": "process id",
    "signal": "name of a signal",
    "requests": "number of open requests",
    "streams": "number of open streams",
    "message": "our own words on a configuration or policy",
    # Exceptions.
    "error": "class of an exception",
    "causes": "classes of the exceptions it arose from",
    "trace": "places (file:line function) it came through, innermost last",
}
"""Every field that an event may have: its name and what it means."""

LEVELS: Final = ("debug", "info", "warning", "error", "critical")

_LONGEST: Final = 200
"""Characters of a string. Ids and names have at most 128; our own words rarely more than a line."""
_LARGEST: Final = 2**63
"""Whole numbers below it fit into 64 bits, as readers of JSON expect."""
_MOST: Final = 32
"""Items of a list or mapping, and places of a trace."""


def configure_logging(*, pretty: bool, level: str, stream: TextIO | None = None) -> None:
    """Send the logs to *stream* (stderr): our events from *level* (see `LEVELS`) on, libraries' from warning on.

    *pretty* is for people, else each line is a JSON object. May be called again; `reset_logging` undoes it. Raises
    ValueError for an unknown level.
    """
    if level not in LEVELS:
        raise ValueError(f"no such log level; known are {', '.join(LEVELS)}")
    reset_logging()
    target = stream or sys.stderr
    renderer: Processor = structlog.dev.ConsoleRenderer(colors=target.isatty()) if pretty else _to_json
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            tell_exception,
            keep_listed,
            keep_plain,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=lambda *_: _Sink(target),
        cache_logger_on_first_use=False,
    )
    root = logging.getLogger()
    root.addHandler(_LibraryHandler(root.level))
    root.setLevel(logging.WARNING)


def reset_logging() -> None:
    """Undo `configure_logging`: structlog's defaults, no context, `logging` as it was."""
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()
    root = logging.getLogger()
    for handler in [handler for handler in root.handlers if isinstance(handler, _LibraryHandler)]:
        root.removeHandler(handler)
        root.setLevel(handler.level_before)


# ----------------------------------------------------------------------------------------------------------- processors


def tell_exception(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Replace ``exc_info`` by the exception's class, the classes it arose from, and the places it came through."""
    info = event.pop("exc_info", None)
    if info is True:
        info = sys.exc_info()
    error = info[1] if isinstance(info, tuple) else info
    if isinstance(error, BaseException):
        first, *causes = _chain(error)
        event["error"] = type(first).__name__
        event["causes"] = [type(cause).__name__ for cause in causes]
        # The last of the chain is where it began.
        frames = [frame for link in (first, *causes) for frame in traceback.extract_tb(link.__traceback__)]
        event["trace"] = [_place(frame.filename, frame.lineno, frame.name) for frame in frames[-_MOST:]]
    return event


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The exception and those it arose from. Of a group, the first: where several tasks fail, one began it."""
    seen: set[int] = set()
    link: BaseException | None = error
    while link is not None and id(link) not in seen:
        seen.add(id(link))
        yield link
        if isinstance(link, BaseExceptionGroup):
            link = link.exceptions[0]
        else:
            link = link.__cause__ or (None if link.__suppress_context__ else link.__context__)


def _place(path: str, line: int | None, function: str) -> str:
    return f"{'/'.join(PurePath(path).parts[-2:])}:{line} {function}"


def keep_listed(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Drop what is not in `EVENTS` and `FIELDS`; ``dropped`` tells the names of the fields."""
    dropped = sorted(name for name in event if name not in FIELDS)
    for name in dropped:
        del event[name]
    if event.get("event") not in EVENTS:
        event["event"] = "log.unlisted"
    if dropped:
        event["dropped"] = dropped
    return event


def keep_plain(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Leave numbers, short strings, and small lists and mappings of those; cut or replace everything else."""
    return {name: _plain(value) for name, value in event.items()}


def _plain(value: object) -> object:
    match value:
        case Mapping():
            return {str(_scalar(key)): _scalar(item) for key, item in list(value.items())[:_MOST]}
        case list() | tuple():
            return [_scalar(item) for item in value[:_MOST]]
        case set() | frozenset():
            return sorted(str(_scalar(item)) for item in value)[:_MOST]
        case _:
            return _scalar(value)


def _scalar(value: object) -> bool | float | str | None:
    match value:
        case Enum():
            return _scalar(value.value)
        case None | bool() | float():
            return value
        case int() if abs(value) < _LARGEST:
            return value
        case str():
            text = value if len(value) <= _LONGEST else f"{value[: _LONGEST - 1]}…"
            # Line ends would forge lines in the pretty form, escapes would move the reader's cursor.
            return text if text.isprintable() else "".join(char if char.isprintable() else "\ufffd" for char in text)
        case _:
            return type(value).__name__


def _to_json(_logger: WrappedLogger, _method: str, event: EventDict) -> str:
    first = {name: event[name] for name in ("timestamp", "level", "event") if name in event}
    return orjson.dumps({**first, **event}).decode()


# ---------------------------------------------------------------------------------------------------- where lines end up


class _Sink:
    """Writes lines. A log that cannot be written to (a full disk, a closed pipe) never stops a request."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def msg(self, line: str) -> None:
        try:
            self._stream.write(f"{line}\n")
            self._stream.flush()
        except (OSError, ValueError):
            pass

    debug = info = warning = error = critical = exception = msg


class _LibraryHandler(logging.Handler):
    """Tells our own pipeline that a library logged something, and where, without its words."""

    def __init__(self, level_before: int) -> None:
        super().__init__(logging.WARNING)
        self.level_before = level_before

    def emit(self, record: logging.LogRecord) -> None:
        structlog.get_logger().log(
            min(record.levelno // 10 * 10, logging.CRITICAL),
            "library.message",
            logger=record.name,
            place=_place(record.pathname, record.lineno, record.funcName),
            exc_info=record.exc_info,
        )
