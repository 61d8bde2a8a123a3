"""A desk: a worker in an event loop of its own, at which cases are judged one chunk after the other."""

from __future__ import annotations

import asyncio
import pickle
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final, Protocol, TypeAlias

from safety_proxy.errors import SafetyProxyError
from safety_proxy.harness.cases import Case
from safety_proxy.harness.outcome import Outcome


@dataclass(frozen=True, slots=True)
class Job:
    """A case, and the policy that it is put before."""

    case: Case
    policy: int = 0
    """Its place in the plan."""


class Worker(Protocol):
    """Judges cases."""

    at_once: int
    """How many it takes at the same time."""

    async def run(self, job: Job, /) -> Outcome:
        """The outcome of one."""

    async def close(self) -> None:
        """Let go of everything."""


Make: TypeAlias = Callable[[], Worker]
"""Makes the worker of a process. It can be pickled."""


@dataclass(frozen=True, slots=True)
class Told:
    """What another process tells of a chunk."""

    outcomes: Sequence[Outcome] = ()
    """Without their cases, which would travel twice."""
    error: Exception | None = None


class Desk:
    """A worker with the event loop that it works in. It is made when the first jobs come."""

    def __init__(self, make: Make) -> None:
        self._make = make
        self._worker: Worker | None = None
        self._loop = asyncio.Runner(loop_factory=asyncio.new_event_loop)

    def judge(self, jobs: Sequence[Job]) -> Iterator[Outcome]:
        """The outcomes of *jobs*, in order; raises what making or running raised first."""
        done = 0
        while done < len(jobs):
            told = self._loop.run(self._next(jobs[done:]))
            yield from told.outcomes
            if told.error is not None:
                raise told.error
            done += len(told.outcomes)

    def tell(self, jobs: Sequence[Job]) -> Told:
        """The same for another process. Raises nothing but interrupts."""
        told = self._loop.run(self._all(jobs))
        bare = [replace(outcome, case=_NO_CASE) for outcome in told.outcomes]
        return Told(bare, None if told.error is None else _travelling(told.error))

    def close(self) -> None:
        """Close the worker and the loop."""
        try:
            if self._worker is not None:
                self._loop.run(self._worker.close())
        finally:
            self._loop.close()

    async def _all(self, jobs: Sequence[Job]) -> Told:
        outcomes: list[Outcome] = []
        while len(outcomes) < len(jobs):
            told = await self._next(jobs[len(outcomes) :])
            outcomes += told.outcomes
            if told.error is not None:
                return Told(outcomes, told.error)
        return Told(outcomes)

    async def _next(self, jobs: Sequence[Job]) -> Told:
        """As many of *jobs* as the worker takes at once."""
        try:
            if self._worker is None:
                self._worker = self._make()
            worker = self._worker
            if worker.at_once == 1:
                return Told([await worker.run(jobs[0])])
        except Exception as error:  # noqa: BLE001 - it is raised when its turn comes
            return Told(error=error)
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(_attempt(worker, job)) for job in jobs[: worker.at_once]]
        outcomes: list[Outcome] = []
        for task in tasks:
            if isinstance(result := task.result(), Exception):
                return Told(outcomes, result)
            outcomes.append(result)
        return Told(outcomes)


_NO_CASE: Final = Case("", "", {})


async def _attempt(worker: Worker, job: Job) -> Outcome | Exception:
    try:
        return await worker.run(job)
    except Exception as error:  # noqa: BLE001 - as above
        return error


def _travelling(error: Exception) -> Exception:
    """*error*, or what can be pickled of it; a mistake of ours tells where it was made."""
    if not isinstance(error, SafetyProxyError):
        error.add_note("".join(traceback.format_exception(error)))
    try:
        pickle.loads(pickle.dumps(error))  # noqa: S301 - it was pickled in this line
    except Exception:  # noqa: BLE001 - whatever an exception's own methods raise
        return RuntimeError("".join(traceback.format_exception(error)))
    return error
