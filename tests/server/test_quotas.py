"""Fixed minutes: what is let in, what is not, and what a correction changes - also among processes."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import pytest

from safety_proxy.server.quotas import MINUTE, Admission, Quota, Refusal

NOON = 1_700_000_040.0
"""The first second of a minute."""


def quota(requests: int | None = None, tokens: int | None = None) -> Quota:
    return Quota(threading.Lock(), requests=requests, tokens=tokens)


def admitted(quota: Quota, now: float, tokens: int = 1) -> Admission:
    answer = quota.admit(now, tokens)
    assert isinstance(answer, Admission)
    return answer


def refused(quota: Quota, now: float, tokens: int = 1) -> Refusal:
    answer = quota.admit(now, tokens)
    assert isinstance(answer, Refusal)
    return answer


def test_noon_begins_a_minute() -> None:
    assert NOON % MINUTE == 0


def test_as_many_requests_as_the_limit_are_let_in_and_the_next_is_not() -> None:
    limited = quota(requests=3)
    left = [admitted(limited, NOON + i).standing.remaining_requests for i in range(3)]
    refusal = refused(limited, NOON + 48.5)

    assert left == [2, 1, 0]
    assert (refusal.limit, refusal.hopeless, refusal.standing.remaining_requests) == ("requests", False, 0)
    assert refusal.standing.reset == 11.5


def test_a_minute_is_over_at_its_boundary_and_not_a_minute_after_the_first_request() -> None:
    limited = quota(requests=1)
    admitted(limited, NOON + 59.9)
    refused(limited, NOON + 59.999)

    admitted(limited, NOON + 60)


def test_tokens_are_counted_as_estimated_and_what_is_refused_is_not_counted() -> None:
    limited = quota(tokens=100)
    admitted(limited, NOON, 60)
    refusal = refused(limited, NOON, 41)

    assert (refusal.limit, refusal.hopeless, refusal.standing.remaining_tokens) == ("tokens", False, 40)
    assert admitted(limited, NOON, 40).standing.remaining_tokens == 0


def test_what_asks_for_more_than_a_minute_has_can_never_be_let_in() -> None:
    assert refused(quota(tokens=100), NOON, 101).hopeless
    assert refused(quota(tokens=100), NOON, 10**30).hopeless


@pytest.mark.parametrize(("used", "left"), [(10, 90), (100, 0), (1000, 0), (0, 100)])
def test_a_correction_replaces_the_estimate(used: int, left: int) -> None:
    limited = quota(tokens=100)
    limited.correct(admitted(limited, NOON, 60), used)

    assert limited.standing(NOON + 1).remaining_tokens == left


def test_a_correction_belongs_to_the_minute_of_its_request() -> None:
    limited = quota(tokens=100)
    early = admitted(limited, NOON, 60)
    admitted(limited, NOON + 60, 50)
    limited.correct(early, 1)
    limited.correct(early, 99)

    assert limited.standing(NOON + 61).remaining_tokens == 50


def test_without_a_limit_nothing_is_refused_and_nothing_told() -> None:
    standing = admitted(quota(requests=5), NOON, 10**30).standing
    assert (standing.remaining_requests, standing.remaining_tokens) == (4, None)


def test_a_clock_that_was_read_a_moment_before_the_boundary_counts_in_the_minute_that_has_begun() -> None:
    limited = quota(requests=2)
    admitted(limited, NOON + 60)
    late = admitted(limited, NOON + 59.999)

    assert late.minute == (NOON + 60) // MINUTE
    refused(limited, NOON + 60.1)


def test_a_clock_that_was_set_back_begins_anew() -> None:
    limited = quota(requests=1)
    admitted(limited, NOON)

    admitted(limited, NOON - 3600)


def test_a_lock_whose_holder_died_does_not_stop_the_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("safety_proxy.server.quotas._PATIENCE", 0.001)
    lock = threading.Lock()
    lock.acquire()

    admitted(Quota(lock, requests=1), NOON)
    assert lock.locked()


FORKING = """
import multiprocessing, sys
from safety_proxy.server.quotas import Admission, Quota

fork = multiprocessing.get_context("fork")
quota = Quota(fork.Lock(), requests=1500, tokens=10**9)
ready = fork.Barrier(2)

def ask(answers):
    ready.wait()
    got = [quota.admit(60.0, 3) for _ in range(1000)]
    admitted = [each for each in got if isinstance(each, Admission)]
    for each in admitted:
        quota.correct(each, 2)
    answers.put(len(admitted))

answers = fork.SimpleQueue()
workers = [fork.Process(target=ask, args=(answers,)) for _ in range(2)]
for worker in workers:
    worker.start()
total = answers.get() + answers.get()
for worker in workers:
    worker.join()
print(total, 10**9 - quota.standing(60.0).remaining_tokens)
"""


def test_two_processes_share_one_count_to_the_last_request() -> None:
    outcome = subprocess.run(  # noqa: S603 - our own code
        [sys.executable, "-c", FORKING], capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2]
    )
    assert outcome.stdout.split() == ["1500", "3000"]
