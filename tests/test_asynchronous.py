"""The asynchronous filter's dialogues. What it promises of all streams is in ``properties/test_asynchronous.py``."""

from __future__ import annotations

import pytest

from safety_proxy.asynchronous import AsynchronousFilter
from safety_proxy.events import (
    Annotate,
    Chunk,
    Classify,
    Closed,
    End,
    Failure,
    Finish,
    Frame,
    Offsets,
    Release,
    Segment,
    StopReading,
    WindowId,
)
from safety_proxy.model import ALLOWED, Action, Decision, Kind, Query
from tests import dialogue
from tests.dialogue import DONE, FILTERED, POLICY, asks, calls, says

FAILED = Decision(Action.FAIL, error="timeout")


def stops(text: str = "", choice: int = 0) -> Chunk:
    return Chunk(choice, {"text": text}, (Segment("content", text),) if text else (), finished=True)


def tells(check: int, start: int, end: int, choice: int = 0) -> Annotate:
    return Annotate(choice, ALLOWED, Offsets(check, start, end))


class Dialogue(dialogue.Dialogue):
    make = AsynchronousFilter


def test_text_is_released_before_it_is_judged_and_without_decisions() -> None:
    stream = AsynchronousFilter(POLICY)

    assert stream.feed([says("abc")]) == [Release(says("abc"), None)]
    assert stream.held_choice is None
    assert stream.feed([says("de")]) == [Release(says("de"), None), asks(0, "abcd", right=True)]


def test_decisions_are_told_in_order_with_the_text_that_they_are_about() -> None:
    stream = Dialogue()
    stream.feed(says("abcdefghi"))

    assert stream.decide(1) == []
    assert stream.decide(0) == [says("abcdefghi"), tells(0, 0, 4), tells(4, 4, 8)]


def test_text_waits_once_more_than_one_window_is_unjudged() -> None:
    stream = Dialogue()

    assert stream.feed(says("abcdefgh")) == [says("abcdefgh"), asks(0, "abcd", right=True)]
    assert stream.feed(says("i"), says("j")) == [asks(1, "bcdefgh", left=True, right=True)]
    assert stream.filter.held_choice == 0
    assert stream.filter.wants_more
    assert stream.decide(0) == [tells(0, 0, 4), says("i"), says("j")]


def test_text_of_a_window_that_is_known_to_be_harmful_waits_although_its_turn_has_not_come() -> None:
    stream = Dialogue()
    stream.feed(says("abcd"), says("e"), says("fgh"), says("i"))
    stream.decide(1, FILTERED)

    assert stream.feed(says("j")) == []
    assert stream.decide(0) == [tells(0, 0, 4), Finish(0, FILTERED, Offsets(0, 0, 8)), StopReading(), End()]


@pytest.mark.parametrize("bad", [FILTERED, FAILED])
def test_a_violation_ends_its_choice_only_and_says_where(bad: Decision) -> None:
    stream = Dialogue(choices=2)
    stream.feed(says("abcde"), says("vw", 1))

    assert stream.decide(0, bad) == [Finish(0, bad, Offsets(0, 0, 4))]
    assert stream.feed(says("fgh"), stops(), says("x", 1)) == [says("x", 1)]
    assert stream.feed(stops(choice=1)) == [asks(0, "vwx", choice=1), StopReading()]
    assert stream.decide(0, choice=1) == [tells(0, 0, 3, 1), stops(choice=1), End()]


def test_a_violation_reaches_back_to_the_window_before_where_it_may_have_begun() -> None:
    stream = Dialogue()
    stream.feed(says("abcdefghijkl"), stops())
    stream.decide(0)
    stream.decide(1)

    assert stream.decide(2, FILTERED)[0] == Finish(0, FILTERED, Offsets(4, 4, 12))


def test_the_finish_waits_for_the_verdicts_so_that_a_choice_ends_once() -> None:
    stream = Dialogue()

    assert stream.feed(says("ab"), stops("c")) == [says("ab"), asks(0, "abc")]
    assert stream.decide(0) == [tells(0, 0, 3), stops("c")]
    assert stream.feed(DONE) == [End()]


def test_tool_calls_and_what_follows_them_wait_until_all_is_judged() -> None:
    stream = Dialogue()

    assert stream.feed(says("ab"), calls("{}"), says("cdefg")) == [says("ab"), asks(0, "abcd", right=True)]
    assert stream.decide(0) == []
    assert stream.feed(stops()) == [
        Classify(WindowId(0, 1), (Query("bcdefg", Kind.COMPLETION, open_left=True), Query("{}", Kind.COMPLETION)))
    ]
    assert stream.decide(1) == [calls("{}"), says("cdefg"), tells(0, 0, 4), tells(4, 4, 7), stops()]


def test_a_choice_of_tool_calls_alone_is_told_of_with_an_empty_span() -> None:
    stream = Dialogue()

    assert stream.feed(calls("{}"), stops()) == [asks(0, "{}")]
    assert stream.decide(0) == [calls("{}"), tells(0, 0, 0), stops()]


def test_of_a_choice_without_anything_to_judge_nothing_is_told() -> None:
    assert Dialogue().feed(says(""), stops(), DONE) == [says(""), stops(), End()]


def test_offsets_count_code_points_of_all_channels_those_without_position_included() -> None:
    stream = Dialogue()
    stream.feed(says("\U0001f319\u200b", channel="reasoning"), says("\U00020000b\u00e9c"), stops())

    assert stream.decide(0) == [tells(0, 0, 5)]
    assert stream.decide(1) == [tells(5, 5, 6), stops()]


def test_unknown_strings_are_released_at_once_and_judged_with_their_window() -> None:
    stream = Dialogue()
    both = says("cde", strings=("note",))

    assert stream.feed(says("", strings=("id",)), says("ab"), both) == [
        says("", strings=("id",)),
        says("ab"),
        both,
        Classify(WindowId(0, 0), (Query("abcd", Kind.COMPLETION, open_right=True), Query("id", Kind.COMPLETION))),
    ]
    assert stream.feed(stops())[-1] == Classify(
        WindowId(0, 1), (Query("bcde", Kind.COMPLETION, open_left=True), Query("note", Kind.COMPLETION))
    )


def test_chunks_that_take_no_position_wait_once_a_windows_length_of_them_is_unjudged() -> None:
    stream = Dialogue()
    one, two, three = (says("", strings=(text,)) for text in ("abc", "def", "ghi"))

    assert stream.feed(one, two, three) == [one, two]
    assert stream.feed(says("abcde")) == [
        Classify(
            WindowId(0, 0),
            (
                Query("abcd", Kind.COMPLETION, open_right=True),
                *(Query(text, Kind.COMPLETION) for text in ("abc", "def", "ghi")),
            ),
        )
    ]
    assert stream.decide(0) == [three, says("abcde"), tells(0, 0, 4)]
    assert stream.feed(one, two, three) == [one, two]


def test_what_cannot_be_judged_is_not_released() -> None:
    """A run of characters that nobody sees ends the choice; what came with it was cut off before it was read."""
    hidden = says("f" + "\u200b" * 257 + "hidden")
    stream = Dialogue()
    stream.feed(says("abcde"))

    assert stream.feed(hidden) == []
    last = stream.decide(0)
    assert last[0] == tells(0, 0, 4)
    assert isinstance(last[1], Finish)
    assert (last[1].decision.error, last[1].offsets) == ("invisible_characters", Offsets(0, 0, 6))


def test_text_that_waits_beyond_the_limit_fails_the_choice() -> None:
    stream = Dialogue(held_limit=40)
    stream.feed(says("abcdefgh"))
    stream.feed(says("i"), says("j"), says("k"))
    stream.decide(0)

    assert isinstance(finish := stream.decide(1)[-3], Finish)
    assert finish.decision.error == "held_limit"


def test_frames_keep_their_place_and_those_with_text_are_judged_before_anything_behind_them_is_shown() -> None:
    frame = Frame({}, ("note",))
    stream = Dialogue()

    assert stream.feed(says("ab"), frame, says("cde")) == [
        says("ab"),
        Classify(WindowId(-1, 0), (Query("note", Kind.COMPLETION),)),
        asks(0, "abcd", right=True),
    ]
    assert stream.decide(0) == []
    assert stream.decide(0, choice=-1) == [frame, says("cde"), tells(0, 0, 4)]


def test_a_violation_drops_what_is_unjudged_behind_a_frame_that_waits() -> None:
    frame = Frame({}, ("note",))
    stream = Dialogue()
    stream.feed(frame, says("abc"), says("de"))

    assert stream.decide(0, FILTERED) == [StopReading()]
    assert stream.decide(0, choice=-1) == [frame, Finish(0, FILTERED, Offsets(0, 0, 4)), End()]


def test_after_a_failure_of_the_backend_what_arrived_is_judged_and_the_failure_is_told_last() -> None:
    failure = Failure("the backend broke off")
    stream = Dialogue(choices=2)

    assert stream.feed(says("ab"), says("xy", 1), Closed(failure)) == [
        says("ab"),
        says("xy", 1),
        asks(0, "ab"),
        asks(0, "xy", choice=1),
    ]
    assert stream.decide(0) == [tells(0, 0, 2)]
    assert stream.decide(0, FILTERED, choice=1) == [Finish(1, FILTERED, Offsets(0, 0, 2)), End(failure, (0,))]
