"""A desk judges chunk after chunk in one event loop, and tells what went wrong after what went well."""

from __future__ import annotations

import asyncio
import pickle
from contextlib import closing

import pytest

from safety_proxy.errors import ConfigError
from safety_proxy.harness.cases import Case
from safety_proxy.harness.desk import Desk, Job
from safety_proxy.harness.outcome import Outcome


class Worker:
    """Remembers what it was asked, and in which loops."""

    def __init__(self, at_once: int = 1, errors: dict[str, Exception] | None = None) -> None:
        self.at_once, self._errors = at_once, errors or {}
        self.asked: list[str] = []
        self.closed = False
        self.loops: set[asyncio.AbstractEventLoop] = set()

    async def run(self, job: Job, /) -> Outcome:
        self.loops.add(asyncio.get_running_loop())
        self.asked.append(job.case.name)
        if job.case.name in self._errors:
            raise self._errors[job.case.name]
        return Outcome(job.case, "p@1", None, None)

    async def close(self) -> None:
        self.loops.add(asyncio.get_running_loop())
        self.closed = True


class Odd(Exception):  # noqa: N818 - what a library may call one
    """Cannot be made again from what is pickled."""

    def __init__(self, one: str, other: str) -> None:
        super().__init__(f"{one} and {other}")


def jobs(*names: str) -> list[Job]:
    return [Job(Case(name, f"{name}:1", {"text": name})) for name in names]


def test_a_worker_is_made_when_it_is_needed_and_lives_in_one_loop() -> None:
    made: list[Worker] = []

    def make() -> Worker:
        made.append(Worker())
        return made[-1]

    with closing(Desk(make)) as desk:
        assert made == []
        assert [outcome.case.name for outcome in desk.judge(jobs("a", "b"))] == ["a", "b"]
        assert [outcome.policy for outcome in desk.tell(jobs("c")).outcomes] == ["p@1"]
    (worker,) = made
    assert (worker.asked, worker.closed, len(worker.loops)) == (["a", "b", "c"], True, 1)


def test_each_case_is_told_before_the_next_one_is_asked_about() -> None:
    worker = Worker()
    with closing(Desk(lambda: worker)) as desk:
        outcomes = desk.judge(jobs("a", "b"))
        next(outcomes)
        assert worker.asked == ["a"]


@pytest.mark.parametrize("at_once", [1, 2, 8])
def test_what_goes_wrong_is_told_after_what_came_before_it(at_once: int) -> None:
    error = ConfigError("is wrong", file="c.jsonl", line=3)
    with closing(Desk(lambda: Worker(at_once, {"c": error}))) as desk:
        told = desk.tell(jobs("a", "b", "c", "d"))
        assert (len(told.outcomes), told.error) == (2, error)

        outcomes = desk.judge(jobs("a", "c"))
        assert next(outcomes).case.name == "a"
        with pytest.raises(ConfigError, match="is wrong"):
            next(outcomes)


def test_as_many_cases_are_under_way_as_the_worker_takes_and_no_more() -> None:
    under_way: list[int] = []

    class Gated(Worker):
        count = 0

        async def run(self, job: Job, /) -> Outcome:
            self.count += 1
            if self.count == self.at_once:
                full.set()
            await full.wait()
            under_way.append(self.count)
            outcome = await super().run(job)
            self.count -= 1
            return outcome

    full = asyncio.Event()
    with closing(Desk(lambda: Gated(3))) as desk:
        assert len(desk.tell(jobs(*"abcdef")).outcomes) == 6
    assert max(under_way) == 3


def test_a_worker_that_cannot_be_made_is_told_of_too() -> None:
    def make() -> Worker:
        raise ConfigError("no such policy", file="p.yaml", line=2, field="name")

    with closing(Desk(make)) as desk:
        error = desk.tell(jobs("a")).error
        assert str(pickle.loads(pickle.dumps(error))) == "p.yaml:2: name: no such policy"  # noqa: S301 - our own


def test_cases_do_not_travel_back_with_their_outcomes() -> None:
    with closing(Desk(Worker)) as desk:
        (outcome,) = desk.tell(jobs("a")).outcomes
    assert outcome.case.body == {}


def test_a_mistake_of_ours_travels_with_the_place_where_it_was_made_whatever_it_is() -> None:
    for mistake in (KeyError("name"), Odd("one", "other")):
        with closing(Desk(lambda each=mistake: Worker(errors={"a": each}))) as desk:  # type: ignore[misc]  # the default is its type
            error = desk.tell(jobs("a")).error
        assert error is not None
        error = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own
        told = f"{error} {getattr(error, '__notes__', '')}"
        assert "in run" in told
        assert type(mistake).__name__ in told or isinstance(error, type(mistake))
