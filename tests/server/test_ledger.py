"""Each process writes its own row; everybody reads all of them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from safety_proxy.server.ledger import Ledger


def test_numbers_of_several_rows_add_up() -> None:
    ledger = Ledger(2)
    first, second = ledger.rows
    first.add(("requests", "a"))
    first.add(("requests", "a"), 2.5)
    second.add(("requests", "a"), 4)
    second.add(("requests", "b ü"))

    assert ledger.totals() == {("requests", "a"): 7.5, ("requests", "b ü"): 1}


def test_a_number_that_is_put_in_place_replaces_the_one_before() -> None:
    ledger = Ledger()
    ledger.rows[0].set(("open",), 3)
    ledger.rows[0].set(("open",), 1)

    assert ledger.totals() == {("open",): 1}


def test_what_is_written_after_a_reading_is_read_by_the_next() -> None:
    ledger = Ledger()
    [row] = ledger.rows
    row.add(("a",))
    before = ledger.totals()
    row.add(("a",))
    row.add(("b",))

    assert (before, ledger.totals()) == ({("a",): 1}, {("a",): 2, ("b",): 1})


def test_a_full_row_keeps_what_it_has_and_counts_what_it_lost() -> None:
    ledger = Ledger(size=4096)
    [row] = ledger.rows
    for i in range(1000):
        row.add((f"series-{i:04}",))
    row.set(("more",), 1)
    kept = ledger.totals()

    assert 50 < len(kept) < 1000
    assert len(kept) + ledger.lost == 1001
    row.add(("series-0000",))
    assert ledger.totals()["series-0000",] == 2


FORKING = """
import multiprocessing
from safety_proxy.server.ledger import Ledger

fork = multiprocessing.get_context("fork")
ledger = Ledger(2)

def count(number):
    for i in range(1000):
        ledger.rows[number].add(("requests", str(i % 7)))

workers = [fork.Process(target=count, args=(i,)) for i in range(2)]
for worker in workers:
    worker.start()
for worker in workers:
    worker.join()
print(sum(ledger.totals().values()), len(ledger.totals()))
"""


def test_what_forked_processes_count_is_seen_by_others() -> None:
    outcome = subprocess.run(  # noqa: S603 - our own code
        [sys.executable, "-c", FORKING], capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2]
    )
    assert outcome.stdout.split() == ["2000.0", "7"]
