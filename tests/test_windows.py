"""Windows are cut at positions; each is judged with its context, and says at which edges the text goes on."""

from __future__ import annotations

import pytest

from safety_proxy.events import Chunk, Segment
from safety_proxy.model import Kind, Query
from safety_proxy.windows import BEYOND, INVISIBLE_LIMIT, Axis, Window, WindowPolicy

POLICY = WindowPolicy(first=4, size=3, context=2, holdback=1)


def said(
    *segments: tuple[str, str], whole: bool = False, strings: tuple[str, ...] = (), other: tuple[str, ...] = ()
) -> Chunk:
    return Chunk(0, {}, tuple(Segment(c, t, whole) for c, t in segments), strings=strings, alternatives=other)


def windows(axis: Axis, *chunks: Chunk) -> list[Window]:
    found: list[Window] = []
    for chunk in chunks:
        axis.add(chunk)
        found += axis.complete_windows()
    return found


def query(text: str, left: bool = False, right: bool = False) -> Query:
    return Query(text, Kind.COMPLETION, left, right)


@pytest.mark.parametrize(
    ("first", "size", "context", "holdback", "in_flight"),
    [(0, 1, 1, 0, 1), (1, 0, 1, 0, 1), (1, 1, 1, -1, 1), (1, 1, 1, 0, 0), (80, 120, 50, 50, 8)],
)
def test_numbers_under_which_a_span_could_escape_are_refused(
    first: int, size: int, context: int, holdback: int, in_flight: int
) -> None:
    with pytest.raises(ValueError, match="must"):
        WindowPolicy(first, size, context, holdback, in_flight)


def test_a_window_is_complete_when_text_stands_beyond_its_end() -> None:
    axis = Axis(POLICY)

    assert windows(axis, said(("content", "abcd"))) == []
    assert windows(axis, said(("content", "e"))) == [Window(4, (query("abcd", right=True),), 4)]
    assert windows(axis, said(("content", "fgh"))) == [Window(7, (query("cdefg", left=True, right=True),), 7)]
    assert axis.last_window() == Window(BEYOND, (query("fgh", left=True),), 8)


def test_one_long_piece_is_cut_into_as_many_windows_as_it_fills() -> None:
    axis = Axis(POLICY)
    found = windows(axis, said(("content", "x" * 5000)))

    assert [window.end for window in found] == list(range(4, 5000, 3))
    assert axis.length == 5000


def test_each_channel_is_judged_with_context_of_its_own() -> None:
    axis = Axis(POLICY)
    found = windows(axis, said(("reasoning", "abc"), ("content", "xyz"), ("reasoning", "def")))

    assert found == [
        Window(4, (query("abc"), query("x", right=True)), 4),
        Window(7, (query("xyz"), query("bcd", left=True, right=True)), 7),
    ]


def test_only_the_channel_that_goes_on_at_the_cut_is_open_there() -> None:
    """Otherwise a match at the end of a finished channel would never count."""
    axis = Axis(POLICY)
    found = windows(axis, said(("reasoning", "abcd"), ("content", "x")))

    assert found == [Window(4, (query("abcd"),), 4)]


def test_a_channel_that_was_interrupted_before_the_cut_is_not_open_although_it_comes_back() -> None:
    """The holdback counts on the axis: the end of its run is released before the window that would see more of it."""
    axis = Axis(POLICY)
    found = windows(axis, said(("reasoning", "ab"), ("content", "xy"), ("reasoning", "cd")))

    assert found == [Window(4, (query("ab"), query("xy")), 4)]


def test_invisible_characters_take_no_position_and_stay_with_the_letter_before_them() -> None:
    axis = Axis(POLICY)
    found = windows(axis, said(("content", "ab\u200b")), said(("content", "\u200bcd\u200b")), said(("content", "\u200be")))

    assert found == [Window(4, (query("ab\u200b\u200bcd\u200b\u200b", right=True),), 8)]
    assert axis.length == 5


def test_a_run_of_invisible_characters_is_counted_over_pieces_and_bounded() -> None:
    axis = Axis(POLICY)
    fits, too_long = said(("content", "a" + "\u200b" * INVISIBLE_LIMIT)), said(("content", "\u200b"))

    assert [bool(windows(axis, chunk)) or axis.illegible for chunk in (fits, too_long)] == [False, True]
    windows(axis, said(("content", "bcdefgh")))
    assert axis.length == 1


def test_visible_text_between_them_starts_a_new_run_of_invisible_characters() -> None:
    axis = Axis(POLICY)
    for text in ("\u200b" * 200, "a", "\u200b" * 200, "\u00e9", "\u200b" * 200 + "b" + "\u200b" * 200, "", "c\u00e9"):
        windows(axis, said(("content", text)))

    assert not axis.illegible


def test_whole_segments_are_judged_at_the_end_raw_and_decoded() -> None:
    axis = Axis(POLICY)
    assert axis.add(said(("tool_call:0.name", "send"), whole=True)) == BEYOND
    axis.add(said(("tool_call:0.arguments", '{"to": "b\\u006f'), whole=True))
    axis.add(said(("tool_call:0.arguments", 'b"}'), whole=True))

    assert axis.last_window().queries == (
        query("send"),
        query('{"to": "b\\u006fb"}'),
        query('{"to": "bob"}'),
        query("to\nbob"),
    )
    assert axis.length == 0


def test_arguments_that_are_cut_off_are_judged_with_and_without_their_escapes() -> None:
    axis = Axis(POLICY)
    axis.add(said(("tool_call:0.arguments", '{"to": "b\\u006f'), whole=True))

    assert axis.last_window().queries == (query('{"to": "b\\u006f'), query('{"to": "bo'))


def test_text_beside_the_visible_text_is_judged_with_it_and_takes_no_positions() -> None:
    axis = Axis(POLICY)
    chunks = [
        Chunk(0, {}, (Segment("content", visible), Segment("logprobs", f"<{visible}>", beside=True)))
        for visible in ("ab", "cd", "ef")
    ]

    assert windows(axis, *chunks) == [Window(4, (query("<ab><cd><ef>"), query("abcd", right=True)), 4)]
    assert axis.length == 6
    assert axis.last_window().queries == (query("cdef", left=True),)


def test_an_empty_whole_segment_holds_its_chunk_and_asks_nothing() -> None:
    axis = Axis(POLICY)

    assert axis.add(said(("held", ""), whole=True)) == BEYOND
    assert axis.last_window().queries == ()


def test_unknown_strings_are_judged_by_themselves_and_once() -> None:
    axis = Axis(POLICY)
    found = windows(axis, said(strings=("one", "two", "one")), said(("content", "abcde"), strings=("one",)))

    assert found == [Window(4, (query("abcd", right=True), query("one"), query("two")), 4)]
    assert axis.last_window().queries == (query("cde", left=True),)


def test_long_unknown_strings_are_judged_every_time() -> None:
    """Remembering them would cost memory without bound."""
    axis = Axis(POLICY)
    long = "x" * 300
    windows(axis, said(strings=(long,)), said(strings=(long,)))

    assert axis.last_window().queries == (query(long), query(long))


def test_the_tokens_not_chosen_in_a_window_are_judged_as_one_text() -> None:
    axis = Axis(POLICY)
    found = windows(axis, said(("content", "ab"), other=("no", "nay")), said(("content", "cde"), other=("nay", "never")))

    assert found == [Window(4, (query("abcd", right=True), query("no\nnay")), 4)]
    assert axis.last_window().queries == (query("cde", left=True), query("nay\nnever"))


def test_whole_policy_has_one_window() -> None:
    axis = Axis(WindowPolicy.whole())

    assert windows(axis, said(("content", "x" * 10_000))) == []
    assert axis.last_window() == Window(BEYOND, (query("x" * 10_000),), 10_000)


def test_a_window_tells_how_many_characters_stand_before_its_end_and_counts_code_points_of_all_channels() -> None:
    axis = Axis(POLICY)
    chunk = Chunk(
        0,
        {},
        (
            Segment("reasoning", "\U0001f319\u200b"),
            Segment("content", "e\u0301\U00020000"),
            Segment("logprobs", "beside", beside=True),
            Segment("tool_call:0.name", "whole", whole=True),
            Segment("content", "x\u200b"),
        ),
    )

    assert [window.characters for window in windows(axis, chunk)] == [5]
    assert axis.last_window().characters == axis.characters == 7
