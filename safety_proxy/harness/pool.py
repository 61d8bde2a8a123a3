"""Cases spread over processes, and their outcomes in the order of the cases.

No more is read ahead than the processes need to have something to do, so a hundred thousand cases take no more memory than
a hundred. What goes wrong with a case goes wrong after the outcomes of all cases before it, with one process as with many.
"""

from __future__ import annotations

import multiprocessing
import signal
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, replace
from itertools import chain, islice
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnContext
from typing import Final

from safety_proxy.errors import ConfigError
from safety_proxy.harness.desk import Desk, Job, Make, Told
from safety_proxy.harness.outcome import Outcome
from safety_proxy.logs import configure_logging

CHUNK: Final = 32
"""Most cases that go to a process at once. The first chunks are smaller, so that all have something to do soon."""
AHEAD: Final = 4
"""Chunks for each process that may be under way, or wait for one before them: as much as one slow case holds up."""
_FEW: Final = 8
"""Chunks (36 cases) that are judged here sooner than another process could have begun."""
_PATIENCE: Final = 5.0
"""Seconds that a process gets to end."""


def run_cases(jobs: Iterable[Job], make: Make, *, processes: int = 1) -> Generator[Outcome, None, None]:
    """The outcomes of *jobs*, in their order, as they are asked for. Whoever stops asking closes it.

    With one process, or for a few cases, all is judged in this one, which must have no event loop running. Raises whatever
    *jobs*, *make* and the workers raise, and `ConfigError` if a process dies.
    """
    chunks = chunked(jobs)
    few = list(islice(chunks, _FEW)) if processes > 1 else []
    chunks = chain(few, chunks)
    return _spread(chunks, make, processes) if len(few) == _FEW else _here(chunks, make)


def _here(chunks: Iterable[Chunk], make: Make) -> Generator[Outcome, None, None]:
    with closing(Desk(make)) as desk:
        for chunk in chunks:
            yield from desk.judge(chunk.jobs)
            if chunk.error is not None:
                raise chunk.error


# ----------------------------------------------------------------------------------------------------------- chunks


@dataclass(slots=True)
class Chunk:
    """Some jobs, and what became of them."""

    jobs: Sequence[Job]
    error: Exception | None = None
    """What went wrong after these jobs, before it was known how many more there are."""
    told: Told | None = None
    """None: they are not judged yet."""

    def outcomes(self) -> Iterator[Outcome]:
        """The outcomes, with their cases; then raises what went wrong."""
        told = self.told or Told()
        for job, outcome in zip(self.jobs, told.outcomes, strict=False):
            yield replace(outcome, case=job.case)
        if error := told.error or self.error:
            raise error


def chunked(jobs: Iterable[Job]) -> Iterator[Chunk]:
    """*jobs* in chunks. What *jobs* raises stands in the last one."""
    waiting = iter(jobs)
    for size in chain(range(1, CHUNK), iter(lambda: CHUNK, None)):
        taken: list[Job] = []
        try:
            taken += islice(waiting, size)
        except Exception as error:  # noqa: BLE001 - it is raised when its turn comes
            yield Chunk(taken, error)
            return
        if not taken:
            return
        yield Chunk(taken)


# -------------------------------------------------------------------------------------------------------- processes


def _spread(chunks: Iterator[Chunk], make: Make, processes: int) -> Generator[Outcome, None, None]:
    under_way: deque[Chunk] = deque()
    with _crew(make, processes) as crew:
        while True:
            for each in crew:
                if each.chunk is None and len(under_way) < AHEAD * processes and (chunk := next(chunks, None)) is not None:
                    under_way.append(chunk)
                    each.give(chunk)
            if not under_way:
                return
            ready = under_way[0].told is not None
            busy = [each for each in crew if each.chunk is not None and not each.dead]
            heard = wait([each.connection for each in busy], timeout=0 if ready else None)
            for each in busy:
                if each.connection in heard:
                    each.take()
            if ready:
                yield from under_way.popleft().outcomes()


class _Member:
    """A process of the crew, and what it is at."""

    def __init__(self, context: SpawnContext, make: Make) -> None:
        self.connection, theirs = context.Pipe()
        self.chunk: Chunk | None = None
        self.dead = False
        self._process = context.Process(target=serve, args=(theirs, make), daemon=True)
        with theirs, _uninterrupted():
            self._process.start()

    def give(self, chunk: Chunk) -> None:
        """Let it judge *chunk*. It is idle, and so reads: the pipe may be smaller than the chunk."""
        self.chunk = chunk
        try:
            self.connection.send(chunk.jobs)
        except OSError:
            self._die(chunk)

    def take(self) -> None:
        """Wait for what it tells of its chunk, if it has one."""
        if (chunk := self.chunk) is not None:
            try:
                chunk.told = self.connection.recv()
                self.chunk = None
            except (EOFError, OSError):
                self._die(chunk)

    def dismiss(self) -> None:
        """Nothing is left to do: let it close what it has open."""
        with suppress(OSError):
            self.connection.send(None)
            self._process.join(_PATIENCE)

    def end(self) -> None:
        """Whatever it is at."""
        self._process.terminate()
        self._process.join(_PATIENCE)
        self._process.kill()
        self._process.join()
        self.connection.close()
        self._process.close()

    def _die(self, chunk: Chunk) -> None:
        self.dead = True
        self._process.join(_PATIENCE)
        code = self._process.exitcode or 0
        how = f"ended with status {code}" if code >= 0 else f"was ended by {signal.Signals(-code).name}"
        hint = "; the machine may have run out of memory: use fewer processes" if how.endswith("SIGKILL") else ""
        where = f"{chunk.jobs[0].case.place} to {chunk.jobs[-1].case.place}" if chunk.jobs else "no case"
        chunk.told = Told(error=ConfigError(f"a process {how} while it judged {where}{hint}"))


@contextmanager
def _crew(make: Make, processes: int) -> Iterator[list[_Member]]:
    """So many processes. They end with the block, at once if it is left before all is done."""
    context = multiprocessing.get_context("spawn")  # a fork would copy the locks of other threads as they are
    crew: list[_Member] = []
    try:
        crew += (_Member(context, make) for _ in range(processes))
        yield crew
        for each in crew:
            each.dismiss()
    finally:
        for each in crew:
            each.end()


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Ctrl-C goes to every process of a terminal. One that is begun here does not hear it: it is ended by us."""
    if not hasattr(signal, "pthread_sigmask"):  # on Windows
        yield
        return
    resource_tracker.ensure_running()  # when it is begun with the first process, it lets interrupts in again
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def serve(connection: Connection, make: Make) -> None:
    """Judge what comes through *connection* in this process until it is closed, or nothing is left to do."""
    configure_logging(pretty=False, level="critical")  # a failure of a classifier is told with the outcome
    with connection, closing(Desk(make)) as desk, suppress(EOFError, ConnectionError):  # who had work to give is gone
        while (jobs := connection.recv()) is not None:
            connection.send(desk.tell(jobs))
