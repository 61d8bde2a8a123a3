"""A filter's dialogues: what comes in, what is ordered. The law itself is in ``properties/test_law.py``."""

from __future__ import annotations

from safety_proxy.events import (
    Classify,
    Closed,
    End,
    Failure,
    Finish,
    Frame,
    Release,
    StopReading,
    WindowId,
)
from safety_proxy.model import Action, Annotation, Category, Decision, Kind, Query
from safety_proxy.stream import StreamFilter
from tests.dialogue import DONE, FILTERED, POLICY, Dialogue, asks, calls, says, stops


def test_a_chunk_without_text_leaves_at_once() -> None:
    stream = Dialogue()

    assert stream.feed(says("")) == [says("")]


def test_a_window_is_asked_for_as_soon_as_text_stands_beyond_its_end() -> None:
    stream = Dialogue()

    assert stream.feed(says("abcd")) == []
    assert stream.feed(says("e")) == [asks(0, "abcd", right=True)]


def test_cleared_text_is_released_up_to_the_holdback() -> None:
    stream = Dialogue()
    stream.feed(says("a"), says("b"), says("c"), says("d"), says("e"))

    assert stream.decide(0) == [says("a"), says("b")]


def test_a_finish_has_the_rest_judged_at_once() -> None:
    stream = Dialogue()
    stream.feed(says("ab"))

    assert stream.feed(stops()) == [asks(0, "ab")]
    assert stream.decide(0) == [says("ab"), stops()]
    assert stream.feed(DONE) == [End()]


def test_text_in_the_finish_chunk_is_judged_first_and_text_after_it_is_dropped() -> None:
    stream = Dialogue()

    assert stream.feed(stops(text="ab"), says("late"), stops()) == [asks(0, "ab")]
    assert stream.decide(0) == [stops(text="ab")]


def test_a_violation_ends_the_choice_and_with_it_the_reading() -> None:
    stream = Dialogue()
    stream.feed(says("a"), says("bcdef"))

    assert stream.decide(0, FILTERED) == [Finish(0, FILTERED), StopReading(), End()]
    assert stream.filter.done
    assert not stream.filter.wants_more


def test_a_violation_ends_its_choice_only() -> None:
    stream = Dialogue(choices=2)
    stream.feed(says("abcde"), says("x", 1))

    assert stream.decide(0, FILTERED) == [Finish(0, FILTERED)]
    assert stream.feed(says("yz", 1), says("more")) == []
    assert stream.filter.wants_more
    assert stream.feed(stops(1)) == [asks(0, "xyz", choice=1), StopReading()]
    assert stream.decide(0, choice=1) == [says("x", 1), says("yz", 1), stops(1), End()]


def test_reading_stops_when_the_last_open_choice_is_ended_by_us() -> None:
    stream = Dialogue(choices=2)
    stream.feed(says("abcde"), says("vwxyz", 1))

    assert stream.decide(0, FILTERED) == [Finish(0, FILTERED)]
    assert stream.decide(0, FILTERED, choice=1) == [Finish(1, FILTERED), StopReading(), End()]


def test_reading_goes_on_for_usage_when_the_backend_had_ended_every_choice() -> None:
    usage = Frame({"usage": {}})
    stream = Dialogue()
    stream.feed(says("ab"), stops())

    assert stream.decide(0, FILTERED) == [Finish(0, FILTERED)]
    assert stream.feed(usage, DONE) == [usage, End()]


def test_the_end_of_a_choice_stands_before_a_frame_that_came_after_the_withheld_text() -> None:
    usage = Frame({"usage": {}})
    stream = Dialogue()
    stream.feed(says("ab"), stops(), usage)

    assert stream.decide(0, FILTERED) == [Finish(0, FILTERED), usage]


def test_a_frame_waits_for_what_came_before_it_and_holds_back_what_came_after() -> None:
    frame = Frame({})
    stream = Dialogue(choices=2)

    assert stream.feed(says("ab"), frame, says("", 1)) == []
    assert stream.feed(stops()) == [asks(0, "ab")]
    assert stream.decide(0) == [says("ab"), frame, stops(), says("", 1)]


def test_frames_leave_in_order_and_with_nothing_before_them_at_once() -> None:
    one, two, three = Frame({"n": 1}), Frame({"n": 2}), Frame({"n": 3})
    stream = Dialogue()

    assert stream.feed(one) == [one]
    assert stream.feed(says("a"), two, says("b"), three) == []
    assert stream.feed(stops()) == [asks(0, "ab")]
    assert stream.decide(0) == [says("a"), two, says("b"), three, stops()]


def test_the_strings_of_a_frame_are_judged_before_it_leaves() -> None:
    frame = Frame({}, ("note", "note"))
    stream = Dialogue()

    assert stream.feed(frame, says("")) == [asks(0, "note", choice=-1)]
    assert stream.decide(0, choice=-1) == [frame, says("")]


def test_a_frame_with_a_violation_is_withheld_and_the_stream_goes_on() -> None:
    stream = Dialogue()
    stream.feed(Frame({}, ("bad",)), says(""))

    assert stream.decide(0, FILTERED, choice=-1) == [says("")]


def test_strings_of_a_chunk_without_text_are_judged_before_it_leaves() -> None:
    chunk = says("", strings=("odd",))
    stream = Dialogue()

    assert stream.feed(chunk) == []
    assert stream.feed(stops()) == [asks(0, "odd")]
    assert stream.decide(0) == [chunk, stops()]


def test_invisible_text_at_the_very_start_is_judged_before_it_leaves() -> None:
    stream = Dialogue()

    assert stream.feed(says("\u200b")) == []
    assert stream.feed(stops()) == [asks(0, "\u200b")]


def test_tool_calls_leave_when_their_choice_ends() -> None:
    stream = Dialogue()

    assert stream.feed(calls("{}"), says("abcdefgh")) == [asks(0, "abcd", right=True)]
    assert stream.decide(0) == []
    ends = stream.feed(stops())
    assert ends == [
        Classify(WindowId(0, 1), (Query("bcdefgh", Kind.COMPLETION, open_left=True), Query("{}", Kind.COMPLETION)))
    ]
    assert stream.decide(1) == [calls("{}"), says("abcdefgh"), stops()]


def test_a_harmful_tool_call_is_withheld_whole() -> None:
    stream = Dialogue()
    stream.feed(calls('{"a": '), calls('"b"}'), stops())

    assert stream.decide(0, FILTERED) == [Finish(0, FILTERED)]


def test_decisions_count_in_window_order_whatever_the_order_of_their_coming() -> None:
    stream = Dialogue()
    stream.feed(*(says(letter) for letter in "abcdefghi"))

    assert stream.decide(1) == []
    assert stream.decide(0) == [says(letter) for letter in "abcdef"]


def test_a_decision_nobody_asked_for_is_ignored() -> None:
    stream = Dialogue()
    stream.feed(says("abcde"))
    stream.decide(0)

    assert stream.decide(0, FILTERED) == []
    assert stream.decide(7, FILTERED) == []


def test_reading_stops_while_enough_windows_are_being_judged() -> None:
    stream = Dialogue()

    assert len(stream.feed(says("x" * 30))) == 3
    assert not stream.filter.wants_more
    assert stream.decide(0) == [asks(3, "x" * 7, left=True, right=True)]
    assert not stream.filter.wants_more


def test_a_release_tells_the_decisions_on_the_windows_its_text_lies_in() -> None:
    def low(severity: int) -> Decision:
        return Decision(Action.ALLOW, {Category.HATE: Annotation(filtered=False, severity=severity)})

    stream_filter = StreamFilter(POLICY)
    stream_filter.feed([says("ab"), says("cdef"), says("ghijk"), stops()])
    effects = [
        *stream_filter.decide(WindowId(0, 0), low(0)),
        *stream_filter.decide(WindowId(0, 1), low(1)),
        *stream_filter.decide(WindowId(0, 2), low(2)),
    ]

    told = {str(e.item.payload["text"]): e.decisions for e in effects if isinstance(e, Release)}
    assert told == {"ab": (low(0),), "cdef": (low(0), low(1)), "ghijk": (low(1), low(2)), "": (low(2),)}


def test_a_choice_that_holds_too_much_fails() -> None:
    stream = Dialogue(held_limit=100)
    effects = stream.feed(calls("x" * 60), calls("x" * 60))

    assert [effect for effect in effects if isinstance(effect, Finish)] == [
        Finish(0, Decision(Action.FAIL, error="held_limit"))
    ]


def test_what_has_been_released_no_longer_counts_as_held() -> None:
    stream = Dialogue(held_limit=100)
    for number in range(50):
        effects = stream.feed(says("abcd"))
        if number:
            assert [type(effect) for effect in effects] == [Classify]
            stream.decide(number - 1)


def test_a_choice_full_of_invisible_characters_fails_after_what_came_before_is_decided() -> None:
    stream = Dialogue()

    assert stream.feed(says("abcde" + "\u200b" * 300)) == [asks(0, "abcd", right=True)]
    assert stream.decide(0) == [Finish(0, Decision(Action.FAIL, error="invisible_characters")), StopReading(), End()]


def test_a_failure_ends_what_is_open_after_the_rest_has_been_judged() -> None:
    failure = Failure("broke off")
    stream = Dialogue()

    assert stream.feed(says("ab"), Closed(failure)) == [asks(0, "ab")]
    assert stream.decide(0) == [says("ab"), End(failure, (0,))]


def test_a_failure_does_not_let_harm_pass() -> None:
    failure = Failure("broke off")
    stream = Dialogue()
    stream.feed(says("ab"), Closed(failure))

    assert stream.decide(0, FILTERED) == [Finish(0, FILTERED), End(failure, ())]


def test_a_stream_that_ends_before_anything_began_ends_every_choice_in_failure() -> None:
    [end] = Dialogue(choices=2).feed(DONE)

    assert isinstance(end, End)
    assert end.failure is not None
    assert end.unfinished == (0, 1)


def test_a_missing_done_is_no_failure_when_every_choice_has_ended() -> None:
    stream = Dialogue()

    assert stream.feed(stops(), Closed()) == [stops(), End()]


def test_a_missing_done_is_a_failure_while_a_choice_has_not_begun() -> None:
    stream = Dialogue(choices=2)
    *_, end = stream.feed(stops(), Closed())

    assert isinstance(end, End)
    assert end.unfinished == (1,)


def test_done_without_the_choices_that_a_backend_does_not_give_is_no_failure() -> None:
    stream = Dialogue(choices=2)

    assert stream.feed(stops(), DONE) == [stops(), End()]


def test_a_choice_that_was_not_asked_for_is_a_failure_of_the_backend() -> None:
    stream = Dialogue()
    [end] = stream.feed(says("a", 1))

    assert isinstance(end, End)
    assert end.failure is not None
    assert stream.feed(says("b")) == []


def test_held_choice_names_one_of_which_something_is_held() -> None:
    stream = Dialogue(choices=2)
    stream.feed(says("", 0), says("a", 1))

    assert stream.filter.held_choice == 1
    stream.feed(stops(1))
    stream.decide(0, choice=1)
    assert stream.filter.held_choice is None


def test_our_end_of_a_choice_stands_behind_what_was_cleared_before_it() -> None:
    """Whether a frame between them has left already depends on another choice; what the client sees must not."""
    frame = Frame({})
    stream = Dialogue(choices=2)
    stream.feed(says("x", 1), frame, says(""), says("abcde"))

    assert stream.decide(0, FILTERED) == []
    assert stream.feed(stops(1)) == [asks(0, "x", choice=1), StopReading()]
    assert stream.decide(0, choice=1) == [says("x", 1), frame, stops(1), says(""), Finish(0, FILTERED), End()]
