"""Server-sent events: bytes in, events out, and the one form in which we write them.

Read as the WHATWG specification has it (HTML, section 9.2.6), on bytes: lines end at CR, LF or CRLF and nowhere else,
so that U+2028 and its like inside JSON do no harm. Two allowances: an event that the end of the stream cuts off before
its blank line counts, as the clients of this field take it; and a field named ``error`` (llama.cpp) is an event of that
name.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from safety_proxy.errors import BackendError

EVENT_LIMIT: Final = 8 * 1024 * 1024
"""Default for the longest event, in bytes: room for a long answer sent whole."""
DONE: Final = b"[DONE]"
"""The data of the event that ends a stream."""

_BOM: Final = b"\xef\xbb\xbf"
_LINE_END: Final = re.compile(rb"\r\n|\n|\r")


@dataclass(frozen=True, slots=True)
class ServerSentEvent:
    """One event: its name (empty for most) and its data, lines joined by LF."""

    data: bytes
    event: str = ""


def encode(data: bytes) -> bytes:
    """The bytes of an event with one line of *data*: the strictest client in the field takes ``data: `` lines only."""
    return b"data: " + data + b"\n\n"


class SSEDecoder:
    """Takes bytes cut anywhere, gives whole events - the same ones however they were cut. Cost is linear in the bytes.

    *limit* is for the bytes of an event's lines, all fields and comments counted, line ends not.
    """

    def __init__(self, limit: int = EVENT_LIMIT) -> None:
        self._limit = limit
        self._pieces: list[bytes] = []
        """Of the line that has begun."""
        self._begun = 0
        """How long it is so far."""
        self._size = 0
        """Bytes of the event's lines before it."""
        self._started = False
        self._after_cr = False
        self._too_long = False
        self._data: list[bytes] = []
        self._event = ""

    def feed(self, data: bytes) -> list[ServerSentEvent]:
        """The events that *data* completes.

        Raises `BackendError` when an event grows beyond the limit; the events before it are given first, and the error is
        raised when nothing else is left to give.
        """
        if self._too_long:
            raise _too_long(self._limit)
        data = self._skip_mark(data)
        if self._after_cr and data:
            self._after_cr = False
            data = data.removeprefix(b"\n")
        end = max(data.rfind(b"\n"), data.rfind(b"\r")) + 1
        events: list[ServerSentEvent] = []
        if end:
            self._pieces.append(data[:end])
            lines, self._pieces, self._begun = b"".join(self._pieces), [], 0
            self._after_cr = end == len(data) and lines.endswith(b"\r")
            events = self._read(lines)
        if end < len(data):
            self._pieces.append(data[end:])
            self._begun += len(data) - end
        self._too_long |= self._size + self._begun > self._limit
        if self._too_long and not events:
            raise _too_long(self._limit)
        return events

    def flush(self) -> list[ServerSentEvent]:
        """The event that the end of the stream cut off, if there is one. Raises as `feed` does."""
        return self.feed(b"\n\n") if self._pieces or self._data or self._too_long else []

    def _skip_mark(self, data: bytes) -> bytes:
        """Leave out a byte order mark at the very start, even when it comes byte by byte."""
        if self._started:
            return data
        data = b"".join(self._pieces) + data
        self._pieces, self._begun = [], 0
        if len(data) < len(_BOM) and _BOM.startswith(data):
            self._pieces = [data]
            return b""
        self._started = True
        return data.removeprefix(_BOM)

    def _read(self, lines: bytes) -> list[ServerSentEvent]:
        """The events that whole *lines* complete, up to one that is too long."""
        events: list[ServerSentEvent] = []
        split = lines.split(b"\n") if b"\r" not in lines else _LINE_END.split(lines)
        split.pop()  # behind the last line end
        for line in split:
            self._size += len(line)
            if self._size > self._limit:
                self._too_long = True
                break
            if line.startswith(b"data: "):
                self._data.append(line[6:])
            elif line:
                self._read_field(line)
            else:
                if self._data:
                    events.append(ServerSentEvent(b"\n".join(self._data), self._event))
                self._data, self._size, self._event = [], 0, ""
        return events

    def _read_field(self, line: bytes) -> None:
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if name == b"data":
            self._data.append(value)
        elif name == b"event":
            self._event = value.decode("utf-8", "replace")
        elif name == b"error":
            self._event = "error"
            self._data.append(value)


def _too_long(limit: int) -> BackendError:
    return BackendError(f"an event of the backend is longer than {limit} bytes", code="backend_event_too_long")
