from __future__ import annotations

import gc
import os
import tracemalloc
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safety_proxy.classifiers.memory_store import MemoryStore, size_of
from safety_proxy.model import HARMS, Category, Span, Verdict

VERDICT = Verdict(dict.fromkeys(HARMS, 0))
ROOM = size_of(VERDICT)


def key(number: int) -> bytes:
    return number.to_bytes(32)


def clean(_: int) -> Verdict:
    return Verdict(dict.fromkeys(HARMS, 0), {Category.JAILBREAK: False})


def scored(number: int) -> Verdict:
    return Verdict(dict.fromkeys(HARMS, 0), scores={f"score {i}": number + i / 7 for i in range(9)})


def marked(number: int) -> Verdict:
    spans = tuple(Span(1000 + number, 2000 + number, f"list {number} {i}", number / 7 + i) for i in range(5))
    return Verdict(blocklists={f"list {number} {i}": True for i in range(5)}, spans=spans)


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_what_was_put_is_found_until_its_time_is_over() -> None:
    clock = Clock()
    store = MemoryStore(10 * ROOM, 60.0, clock)
    store.put(key(1), VERDICT)
    clock.now += 59.9
    assert store.get(key(1)) is VERDICT
    assert key(1) in store
    clock.now += 0.2
    assert store.get(key(1)) is None
    assert key(1) not in store
    assert (len(store), store.size) == (0, 0)


def test_who_never_came_is_not_found() -> None:
    assert MemoryStore(10 * ROOM, 60.0).get(key(1)) is None


def test_what_was_used_longest_ago_makes_room() -> None:
    store = MemoryStore(2 * ROOM, 60.0)
    store.put(key(1), VERDICT)
    store.put(key(2), VERDICT)
    store.get(key(1))
    assert key(2) in store  # asking that does not count as use
    store.put(key(3), VERDICT)
    assert [number for number in (1, 2, 3) if key(number) in store] == [1, 3]


def test_a_verdict_larger_than_the_whole_store_is_not_kept_and_pushes_nothing_out() -> None:
    store = MemoryStore(ROOM, 60.0)
    store.put(key(1), VERDICT)
    store.put(key(2), marked(1))
    assert store.get(key(1)) is VERDICT
    assert store.get(key(2)) is None


def test_a_verdict_that_is_put_again_counts_once() -> None:
    store = MemoryStore(10 * ROOM, 60.0)
    for _ in range(3):
        store.put(key(1), VERDICT)
    assert (len(store), store.size) == (1, ROOM)


@given(st.lists(st.tuples(st.integers(0, 9), st.sampled_from([clean, scored, marked]), st.floats(0, 20)), max_size=40))
def test_it_never_holds_more_than_its_size_nor_anything_too_old(
    puts: list[tuple[int, Callable[[int], Verdict], float]],
) -> None:
    clock = Clock()
    store = MemoryStore(5 * ROOM, 60.0, clock)
    last: dict[int, tuple[float, Verdict]] = {}
    for number, make, pause in puts:
        verdict = make(number)
        store.put(key(number), verdict)
        last[number] = clock.now, verdict
        clock.now += pause
        assert store.size <= 5 * ROOM
        for each, (time, expected) in last.items():
            found = store.get(key(each))
            assert found is None or (clock.now < time + 60 and found == expected)


@pytest.mark.parametrize("make", [clean, scored, marked])
def test_the_estimate_is_within_a_factor_of_two_of_what_is_taken(make: Callable[[int], Verdict]) -> None:
    store, entries = MemoryStore(2**40, 1e9), 3000
    gc.collect()
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    for number in range(entries):
        store.put(os.urandom(32), make(number))
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert 0.5 < store.size / (after - before) < 2
