"""Cases are spread over processes, and nobody can tell from the outcomes over how many."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from multiprocessing import Pipe
from pathlib import Path
from threading import Thread

import pytest

from safety_proxy.errors import ConfigError
from safety_proxy.harness.cases import Case
from safety_proxy.harness.desk import Job
from safety_proxy.harness.outcome import Outcome
from safety_proxy.harness.pool import AHEAD, CHUNK, chunked, run_cases, serve
from safety_proxy.logs import reset_logging

ROOT = Path(__file__).parents[2]


class Worker:
    """Does what the tag of a case says; the policy of an outcome is the process that it comes from."""

    at_once = 1

    async def run(self, job: Job, /) -> Outcome:
        match next(iter(job.case.tags), ""):
            case "wrong":
                raise ConfigError("is wrong", file=job.case.place)
            case "killed":
                os.kill(os.getpid(), signal.SIGKILL)
            case "exits":
                os._exit(3)
            case "for ever":
                await asyncio.Event().wait()
            case _:
                pass
        return Outcome(job.case, str(os.getpid()), None, None)

    async def close(self) -> None:
        """Nothing is open."""


@dataclass(frozen=True)
class Unmakable:
    """There is no worker."""

    def __call__(self) -> Worker:
        raise ConfigError("cannot be enforced", file="p.yaml", line=4)


class Cases:
    """So many; tells how many were read. One may have a tag, and the file may end in a mistake."""

    def __init__(self, count: int, tags: dict[int, str] | None = None, *, mistake: bool = False) -> None:
        self.count, self.read = count, 0
        self._tags, self._mistake = tags or {}, mistake

    def __iter__(self) -> Iterator[Job]:
        for number in range(self.count):
            self.read += 1
            tags = frozenset({self._tags[number]}) if number in self._tags else frozenset[str]()
            yield Job(Case(f"case {number}", f"cases.jsonl:{number}", {"text": "x" * 100}, tags=tags))
        if self._mistake:
            raise ConfigError("is not JSON", file="cases.jsonl", line=self.count)


def places(outcomes: Iterator[Outcome]) -> tuple[list[int], str]:
    """The numbers of the cases, and the error that came after them."""
    numbers = []
    try:
        for outcome in outcomes:
            numbers.append(int(outcome.case.place.partition(":")[2]))  # noqa: PERF401 - up to the error
    except ConfigError as error:
        return numbers, str(error)
    return numbers, ""


# ---------------------------------------------------------------------------------------------------- one process


def test_one_process_is_this_one_and_reads_no_further_than_the_next_chunk() -> None:
    cases = Cases(200)
    with closing(run_cases(cases, Worker)) as outcomes:
        for told, outcome in enumerate(outcomes, 1):
            assert outcome.policy == str(os.getpid())
            assert cases.read - told < CHUNK
    assert cases.read == 200


def test_for_a_few_cases_no_other_process_is_begun() -> None:
    assert {outcome.policy for outcome in run_cases(Cases(20), Worker, processes=2)} == {str(os.getpid())}
    assert list(run_cases(Cases(0), Worker, processes=2)) == []


def test_a_mistake_comes_after_the_cases_before_it() -> None:
    assert places(run_cases(Cases(9, {5: "wrong"}), Worker)) == ([0, 1, 2, 3, 4], "cases.jsonl:5: is wrong")
    assert places(run_cases(Cases(9, mistake=True), Worker)) == ([*range(9)], "cases.jsonl:9: is not JSON")
    assert places(run_cases(Cases(9), Unmakable())) == ([], "p.yaml:4: cannot be enforced")


def test_chunks_grow_to_their_size_and_hold_every_case_once() -> None:
    chunks = list(chunked(Cases(1000)))
    assert [len(chunk.jobs) for chunk in chunks[:3]] == [1, 2, 3]
    assert max(len(chunk.jobs) for chunk in chunks) == CHUNK
    assert [job.case.name for chunk in chunks for job in chunk.jobs] == [f"case {n}" for n in range(1000)]


# ------------------------------------------------------------------------------------------------ several processes


def test_twenty_thousand_cases_come_in_order_from_several_processes_and_few_are_in_flight() -> None:
    cases, seen, most = Cases(20_000), set(), 0
    with closing(run_cases(cases, Worker, processes=2)) as outcomes:
        for told, outcome in enumerate(outcomes):
            assert outcome.case.name == f"case {told}"
            assert outcome.case.body == {"text": "x" * 100}
            seen.add(outcome.policy)
            most = max(most, cases.read - told)
    assert cases.read == 20_000
    assert len(seen - {str(os.getpid())}) == 2
    assert most <= (2 * AHEAD + 1) * CHUNK
    assert multiprocessing.active_children() == []


def test_a_process_that_is_killed_is_told_of_with_the_cases_that_it_had_and_ends_all() -> None:
    numbers, error = places(run_cases(Cases(500, {100: "killed"}), Worker, processes=2))

    assert numbers == [*range(91)]  # 1 + 2 + ... + 13 cases
    assert error.startswith("a process was ended by SIGKILL while it judged cases.jsonl:91 to cases.jsonl:104")
    assert multiprocessing.active_children() == []


@pytest.mark.slow
def test_a_mistake_comes_after_the_cases_before_it_from_several_processes_too() -> None:
    told = [
        places(run_cases(cases, make, processes=2))
        for cases, make in (
            (Cases(200, {150: "wrong"}), Worker),
            (Cases(200, mistake=True), Worker),
            (Cases(200), Unmakable()),
            (Cases(200, {100: "exits"}), Worker),
        )
    ]
    assert told[0] == ([*range(150)], "cases.jsonl:150: is wrong")
    assert told[1] == ([*range(200)], "cases.jsonl:200: is not JSON")
    assert told[2] == ([], "p.yaml:4: cannot be enforced")
    assert told[3][1] == "a process ended with status 3 while it judged cases.jsonl:91 to cases.jsonl:104"


@pytest.mark.slow
def test_whoever_stops_asking_ends_all_processes_whatever_they_are_at() -> None:
    with closing(run_cases(Cases(500, {60: "for ever"}), Worker, processes=2)) as outcomes:
        assert next(outcomes).case.name == "case 0"
        assert len(multiprocessing.active_children()) == 2
    assert multiprocessing.active_children() == []


INTERRUPTED = """
import signal
from test_pool import Cases, Worker
from safety_proxy.harness.pool import run_cases

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # where the tests are a background job, it is ignored
    try:
        for outcome in run_cases(Cases(500, {60: "for ever"}), Worker, processes=2):
            print(outcome.policy, flush=True)
    except KeyboardInterrupt:
        print("interrupted", flush=True)
"""


@pytest.mark.slow
def test_an_interrupt_of_a_terminal_ends_all_processes_and_only_one_of_them_speaks(tmp_path: Path) -> None:
    """The signal goes to every process of the group, also to those that are about to begin."""
    script = tmp_path / "script.py"
    script.write_text(INTERRUPTED)
    environ = {**os.environ, "PYTHONPATH": f"{ROOT}:{Path(__file__).parent}"}
    with subprocess.Popen(  # noqa: S603 - our own script
        [sys.executable, script], stdout=-1, stderr=-1, text=True, env=environ, start_new_session=True
    ) as process:
        assert process.stdout is not None
        judging = process.stdout.readline().strip()
        os.killpg(process.pid, signal.SIGINT)
        try:
            said, complained = process.communicate(timeout=60)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            raise
        assert (said.split()[-1], complained) == ("interrupted", "")
    assert process.returncode == 0
    with pytest.raises(ProcessLookupError):
        os.kill(int(judging), 0)


# ------------------------------------------------------------------------------------------- what a process does


@pytest.fixture
def logging() -> Iterator[None]:
    """The logs as they were before."""
    yield
    reset_logging()


@pytest.mark.usefixtures("logging")
@pytest.mark.parametrize("goodbye", [True, False])
def test_a_process_judges_what_comes_until_nothing_is_left_or_the_other_side_is_gone(*, goodbye: bool) -> None:
    ours, theirs = Pipe()
    serving = Thread(target=serve, args=(theirs, Worker))
    serving.start()
    try:
        told = []
        for chunk in chunked(Cases(6, {4: "wrong"})):
            ours.send(chunk.jobs)
            chunk.told = ours.recv()
            told.append(places(chunk.outcomes()))
        assert told == [([0], ""), ([1, 2], ""), ([3], "cases.jsonl:4: is wrong")]
    finally:
        if goodbye:
            ours.send(None)
        ours.close()
        serving.join()
