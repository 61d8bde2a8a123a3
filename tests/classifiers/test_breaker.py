from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from safety_proxy.classifiers.base import State
from safety_proxy.classifiers.breaker import CircuitBreaker

FAILURES, PROBE = 5, 10.0


class Bench:
    """A breaker, a clock that is moved by hand, and what was told."""

    def __init__(self, failures: int = FAILURES) -> None:
        self.now = 100.0
        self.told: list[State] = []
        self.breaker = CircuitBreaker(failures, PROBE, lambda: self.now, self.told.append)

    def state(self) -> State:
        return self.breaker.state

    def refuses(self) -> bool:
        return self.breaker.refuses

    def admit(self) -> int:
        call = self.breaker.admit()
        assert call is not None
        return call

    def fail(self, times: int = 1) -> None:
        for _ in range(times):
            self.breaker.failed(self.admit())

    def open(self) -> None:
        self.fail(FAILURES)


class TestOpening:
    def test_it_opens_after_so_many_failures_in_a_row(self) -> None:
        bench = Bench()
        bench.fail(FAILURES - 1)
        assert bench.state() is State.CLOSED
        bench.fail()
        assert bench.state() is State.OPEN
        assert bench.refuses()
        assert bench.breaker.admit() is None

    def test_a_success_between_them_starts_the_count_again(self) -> None:
        bench = Bench()
        bench.fail(FAILURES - 1)
        bench.breaker.succeeded()
        bench.fail(FAILURES - 1)
        assert bench.state() is State.CLOSED

    def test_a_call_that_was_given_up_neither_counts_nor_starts_the_count_again(self) -> None:
        bench = Bench()
        bench.fail(FAILURES - 1)
        bench.breaker.given_up(bench.admit())
        assert bench.state() is State.CLOSED
        bench.fail()
        assert bench.state() is State.OPEN

    def test_calls_that_were_under_way_when_it_opened_do_not_keep_it_open(self) -> None:
        bench = Bench()
        late = [bench.admit() for _ in range(30)]
        bench.open()
        for call in late:
            bench.now += PROBE / 40
            bench.breaker.failed(call)
        bench.now += PROBE / 4
        assert not bench.refuses()


class TestProbing:
    def test_exactly_one_call_is_let_through_when_the_while_is_over(self) -> None:
        bench = Bench()
        bench.open()
        bench.now += PROBE - 0.001
        assert bench.refuses()
        bench.now += 0.001
        assert not bench.refuses()
        assert bench.breaker.admit() is not None
        assert bench.state() is State.HALF_OPEN
        assert [bench.breaker.admit() for _ in range(100)] == [None] * 100

    def test_a_success_closes_it(self) -> None:
        bench = Bench()
        bench.open()
        bench.now += PROBE
        bench.admit()
        bench.breaker.succeeded()
        assert bench.state() is State.CLOSED
        bench.fail(FAILURES - 1)
        assert bench.state() is State.CLOSED

    def test_a_failure_opens_it_for_as_long_again(self) -> None:
        bench = Bench()
        bench.open()
        bench.now += PROBE
        bench.fail()
        assert bench.state() is State.OPEN
        bench.now += PROBE - 0.001
        assert bench.refuses()
        bench.now += 0.001
        assert not bench.refuses()

    def test_a_probe_that_is_given_up_frees_its_place(self) -> None:
        bench = Bench()
        bench.open()
        bench.now += PROBE
        bench.breaker.given_up(bench.admit())
        assert bench.breaker.admit() is not None
        assert bench.breaker.admit() is None

    def test_a_call_from_before_that_ends_meanwhile_is_not_taken_for_the_probe(self) -> None:
        bench = Bench()
        abandoned, failing = bench.admit(), bench.admit()
        bench.open()
        bench.now += PROBE
        bench.admit()
        bench.breaker.given_up(abandoned)
        bench.breaker.failed(failing)
        assert bench.state() is State.HALF_OPEN
        assert bench.breaker.admit() is None

    def test_an_answer_to_a_call_from_before_closes_it_too(self) -> None:
        bench = Bench()
        bench.admit()
        bench.open()
        bench.breaker.succeeded()
        assert bench.state() is State.CLOSED


class TestTelling:
    def test_each_change_is_told_once(self) -> None:
        bench = Bench()
        bench.breaker.succeeded()
        bench.open()
        bench.now += PROBE
        bench.fail()
        bench.now += PROBE
        bench.admit()
        bench.breaker.succeeded()
        bench.breaker.succeeded()
        assert bench.told == [State.OPEN, State.HALF_OPEN, State.OPEN, State.HALF_OPEN, State.CLOSED]


@given(
    st.integers(1, 4),
    st.lists(st.tuples(st.sampled_from(["admit", "succeed", "fail", "give up"]), st.integers(0, 5), st.floats(0, 8))),
)
def test_it_is_never_stuck_and_never_lets_two_through_while_it_tries(
    failures: int, steps: list[tuple[str, int, float]]
) -> None:
    bench = Bench(failures)
    under_way: list[int] = []
    for step, which, seconds in steps:
        bench.now += seconds
        was = bench.state()
        if step == "admit":
            call = bench.breaker.admit()
            assert call is None or was is not State.HALF_OPEN
            under_way += [] if call is None else [call]
        elif under_way:
            call = under_way.pop(which % len(under_way))
            if step == "succeed":
                bench.breaker.succeeded()
                assert bench.state() is State.CLOSED
            else:
                (bench.breaker.failed if step == "fail" else bench.breaker.given_up)(call)
    for call in under_way:
        bench.breaker.failed(call)
    bench.now += PROBE
    assert bench.breaker.admit() is not None
