"""Where the lines of the audit log go: a file, written by a thread of its own, that no request ever waits for.

Each line is one ``write`` to a file that is opened for appending, so several processes share a file. What cannot be written
is counted, and told once for each outage; then the next line is tried again. A file that was moved away, as tools do that
rotate logs, is made anew.
"""

from __future__ import annotations

import asyncio
import os
import queue
import stat
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final, TypeAlias

import structlog

from safety_proxy.errors import ConfigError

Build: TypeAlias = Callable[[], bytes]
"""Makes a line, without its end. Called by the thread, so that no stream waits while texts are masked."""

LINES: Final = 10_000
"""Lines that may wait."""
WEIGHT: Final = 64 * 2**20
"""What they may weigh together; about bytes."""
PATIENCE: Final = 5.0
"""Seconds that the end of a server waits for a disk."""

_MODE: Final = 0o600
_FLAGS: Final = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
"""Read, too: whether the last line is whole."""

log = structlog.get_logger("safety_proxy.server")


class AuditLog:
    """The file at *path*. *lost* is called in the event loop with the number of lines that were lost.

    `put` never waits and never raises. Lines are written from `open` to `close`.
    """

    def __init__(self, path: str, lost: Callable[[int], None], *, lines: int = LINES, weight: int = WEIGHT) -> None:
        self._path, self._tell_lost = path, lost
        self._lines, self._weight = lines, weight
        self._waiting: queue.SimpleQueue[tuple[Build, int] | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._count = self._weighs = 0
        self._failing = False
        self._closed = True
        self._file: int | None = None
        self._torn = False
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    # ---------------------------------------------------------------------------------------------- in the event loop

    def open(self) -> None:
        """Open the file and start to write. Raises `ConfigError` if that file cannot be written to."""
        try:
            self._reopen()
        except OSError as error:
            raise ConfigError(f"the audit log cannot be opened: {error.strerror}", field="audit.path") from None
        self._loop = asyncio.get_running_loop()
        self._closed = False
        # A daemon: a disk that hangs must not keep the process from ending.
        self._thread = threading.Thread(target=self._run, name="audit", daemon=True)
        self._thread.start()

    def put(self, build: Build, weight: int) -> None:
        """Write what *build* makes, once there is time; what waits meanwhile weighs about *weight* bytes."""
        with self._lock:
            taken = not self._closed and self._count < self._lines and self._weighs + weight <= self._weight
            if taken:
                self._count += 1
                self._weighs += weight
        if taken:
            self._waiting.put((build, weight))
        else:
            self._tell_lost(1)
            self._begin_outage("overflow")

    async def close(self) -> None:
        """Write what waits, for at most `PATIENCE` seconds."""
        self._closed = True
        if self._thread is None:
            return
        self._waiting.put(None)
        await asyncio.to_thread(self._thread.join, PATIENCE)
        if self._thread.is_alive():
            self._tell_lost(self._count)
            self._begin_outage("timeout")

    # ------------------------------------------------------------------------------------------------- in the thread

    def _run(self) -> None:
        while (job := self._waiting.get()) is not None:
            build, weight = job
            try:
                self._write(build())
            except Exception as error:  # noqa: BLE001 - a line with a bug must not end all others
                self._begin_outage(type(error).__name__)
                self._done(weight)
                self._lose()
            else:
                if self._done(weight) == 0:  # while lines come faster than they can be written, others are lost
                    self._end_outage()
        if self._file is not None:
            os.close(self._file)

    def _done(self, weight: int) -> int:
        """A line has had its turn; how many wait."""
        with self._lock:
            self._count -= 1
            self._weighs -= weight
            return self._count

    def _write(self, line: bytes) -> None:
        """One line. Raises OSError."""
        if self._moved():
            self._reopen()
        if self._file is None:
            raise OSError
        whole = b"\n" * self._torn + line + b"\n"
        self._torn = True
        written = os.write(self._file, whole)
        if written < len(whole):
            raise OSError  # the disk is full; what came of the line is given an end by the next one
        self._torn = False

    def _moved(self) -> bool:
        """Whether the path leads elsewhere, or nowhere."""
        if self._file is None:
            return True
        try:
            return not os.path.samestat(Path(self._path).stat(), os.fstat(self._file))
        except FileNotFoundError:
            return True

    def _reopen(self) -> None:
        """Open the file at the path. Raises OSError."""
        if self._file is not None:
            os.close(self._file)
            self._file = None
        self._file = os.open(self._path, _FLAGS, _MODE)
        self._torn = _ends_torn(self._file)

    def _lose(self) -> None:
        if self._loop is not None:
            with suppress(RuntimeError):  # the loop has ended, and nobody reads the metrics any more
                self._loop.call_soon_threadsafe(self._tell_lost, 1)

    # ------------------------------------------------------------------------------------------------------ outages

    def _begin_outage(self, error: str) -> None:
        if not self._failing:
            self._failing = True
            log.error("audit.failed", error=error)

    def _end_outage(self) -> None:
        if self._failing:
            self._failing = False
            log.info("audit.recovered")


def _ends_torn(file: int) -> bool:
    """Whether somebody died while he wrote the last line."""
    found = os.fstat(file)
    return stat.S_ISREG(found.st_mode) and found.st_size > 0 and os.pread(file, 1, found.st_size - 1) != b"\n"
