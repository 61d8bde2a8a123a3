"""One choice: what it holds, when it lets go, what it costs."""

from __future__ import annotations

from safety_proxy.choice import Barrier, Choice
from safety_proxy.events import Chunk, Finish, Frame, Release, Segment
from safety_proxy.model import ALLOWED, Action, Decision
from safety_proxy.windows import BEYOND, WindowPolicy

POLICY = WindowPolicy(first=4, size=4, context=3, holdback=2)
FILTERED = Decision(Action.FILTER)


def says(text: str, *, finished: bool = False, strings: tuple[str, ...] = ()) -> Chunk:
    return Chunk(0, {}, (Segment("content", text),) if text else (), finished=finished, strings=strings)


def hold(choice: Choice, *chunks: Chunk) -> list[tuple[int, Decision | None]]:
    """The ends of the windows that come of it, with the decisions that need no judge."""
    return [(window.end, window.decision) for chunk in chunks for window in choice.hold(chunk)]


def test_windows_are_numbered_and_wait_for_a_decision_unless_there_is_nothing_to_judge() -> None:
    choice = Choice(3, POLICY)
    windows = [*choice.hold(says("abcdefghij")), choice.end_of_text()]

    assert [(window.id.choice, window.id.number, window.end) for window in windows] == [(3, 0, 4), (3, 1, 8), (3, 2, BEYOND)]
    assert hold(Choice(0, POLICY), says("", finished=True)) == [(BEYOND, ALLOWED)]


def test_nothing_is_released_before_its_window_is_decided() -> None:
    choice = Choice(0, POLICY)
    [window] = choice.hold(says("abcde"))
    assert choice.apply() is None
    assert list(choice.release()) == []
    assert not choice.settled

    window.decision = ALLOWED
    assert choice.apply() is None
    assert list(choice.release()) == []
    assert choice.holds


def test_a_violation_is_told_once_and_leaves_only_the_end() -> None:
    choice = Choice(0, POLICY)
    [window] = choice.hold(says("abcde"))
    window.decision = FILTERED

    assert choice.apply() is FILTERED
    assert list(choice.release()) == [Finish(0, FILTERED)]
    assert choice.apply() is None
    assert (choice.stopped, choice.closed, choice.finished, choice.settled, choice.cost) == (True, True, False, True, 0)


def test_a_choice_that_takes_no_more_input_does_not_fail_again() -> None:
    choice = Choice(0, POLICY)
    hold(choice, says("", finished=True))
    choice.fail("held_limit")

    assert choice.apply() is None
    assert [type(effect) for effect in choice.release()] == [Release]


def test_what_is_held_has_a_cost_and_what_is_released_has_none() -> None:
    choice = Choice(0, POLICY)
    hold(choice, says("ab"), says("", strings=("note",)))
    assert choice.cost == 16 + 2 + 16 + 4

    window = choice.end_of_text()
    window.decision = ALLOWED
    choice.apply()
    assert len(list(choice.release())) == 2
    assert choice.cost == 0


def test_a_frame_stops_the_release_until_it_has_passed() -> None:
    choice, barrier = Choice(0, POLICY), Barrier(Frame({}))
    choice.put(barrier)
    hold(choice, says(""))
    assert barrier.waiting == 0
    assert list(choice.release()) == []

    choice.passed(Barrier(Frame({})))
    assert list(choice.release()) == []
    choice.passed(barrier)
    assert len(list(choice.release())) == 1


def test_a_frame_waits_while_something_is_held_before_it() -> None:
    choice, barrier = Choice(0, POLICY), Barrier(Frame({}))
    hold(choice, says("ab"))
    choice.put(barrier)
    assert barrier.waiting == 1

    choice.end_of_text().decision = ALLOWED
    choice.apply()
    assert len(list(choice.release())) == 1
    assert barrier.waiting == 0
