"""Where the exceptions are in a text."""

from __future__ import annotations

from safety_proxy.classifiers.blocklist_exceptions import Exceptions


def covers(text: str, word: str, *, open_left: bool = False, open_right: bool = False) -> bool:
    exceptions = Exceptions({"a": frozenset({"red rum", "infra red rum"}), "b": frozenset()})
    start = text.index(word)
    found = exceptions.in_text(text, lambda _start, _end: True, open_left=open_left, open_right=open_right)
    assert not found.covers("b", start, start + len(word))
    assert not found.covers("unknown", start, start + len(word))
    return found.covers("a", start, start + len(word))


def test_a_match_is_covered_by_an_exception_around_it() -> None:
    assert covers("the red rum is", "red")
    assert covers("the red rum is", "red rum")
    assert not covers("the red rum is", "rum is")
    assert not covers("the red room", "red")


def test_a_match_may_be_covered_by_what_an_open_edge_cuts_off() -> None:
    assert covers("the red ru", "red", open_right=True)
    assert not covers("the red ru", "red")
    assert covers("fra red rum is", "red", open_left=True)
    assert covers("ed rum is", "rum", open_left=True)
    assert not covers("ed rum is", "rum")


def test_words_have_the_last_say() -> None:
    exceptions = Exceptions({"a": frozenset({"red rum"})})
    found = exceptions.in_text("red rum", lambda _start, _end: False, open_left=True, open_right=True)
    assert not found.covers("a", 0, 3)
