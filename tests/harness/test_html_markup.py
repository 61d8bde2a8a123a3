"""Claims about markup: nothing breaks out of it, and nothing hides in it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safety_proxy.harness.html_markup import Markup, escape, join, tag, visible
from tests.harness.markup import parsed

ANY = st.text(st.characters(exclude_categories=()))
HOSTILE = st.lists(
    st.sampled_from(
        ["<", ">", "&", '"', "'", "</p>", "<script>", "-->", "<!--", "]]>", "&#60;", "\x00", "\r", "\ud800", "\u202e", "x"]
    )
).map("".join)
TEXTS = ANY | HOSTILE


@given(TEXTS)
def test_text_in_an_element_stays_text(text: str) -> None:
    root = parsed(tag("p", text))
    assert root.one("p").children == ([escape_free(text)] if text else [])


@given(TEXTS)
def test_text_in_an_attribute_stays_in_it(text: str) -> None:
    root = parsed(tag("p", title=text))
    assert root.one("p").attributes == {"title": escape_free(text)}


def escape_free(text: str) -> str:
    """What a reader sees of *text*: a sign in the place of each character that nobody sees."""
    return "".join("\ufffd" if escape(each) == "\ufffd" else each for each in text)


@given(TEXTS)
def test_a_visible_text_holds_no_other_elements_than_those_that_name_odd_characters(text: str) -> None:
    root = parsed(tag("pre", visible(text)))
    inside = root.one("pre").children
    assert all(isinstance(child, str) or (child.name, child.classes) == ("i", {"odd"}) for child in inside)
    odd = [child.text for child in inside if not isinstance(child, str)]
    assert len(root.one("pre").text) == len(text) + sum(len(each) - 1 for each in odd)


@given(TEXTS)
def test_whatever_the_text_a_file_can_hold_it(text: str) -> None:
    visible(text).encode()
    escape(text).encode()


@pytest.mark.parametrize(
    "odd", ["\x00", "\x1b", "\r", "\x85", "\u200b", "\u202e", "\u2066", "\ufeff", "\ud800", "\U000e0041"]
)
def test_characters_that_nobody_sees_are_shown_by_their_number(odd: str) -> None:
    assert visible(f"a{odd}b") == f'a<i class="odd">U+{ord(odd):04X}</i>b'


@pytest.mark.parametrize("text", ["tabs\tand\nlines", "👩\u200d🚒", "\u0646\u0645\u06cc\u200c\u062e", "ﬁne"])
def test_what_people_write_is_left_as_it_is(text: str) -> None:
    assert visible(text) == text


def test_markup_is_taken_as_it_is_and_all_else_is_escaped() -> None:
    assert join(Markup("<b>"), "<b>", 1, 2.5, None, ["<", [Markup("<i>")]]) == "<b>&lt;b&gt;12.5&lt;<i>"


def test_attributes_that_are_none_or_false_are_left_out_and_true_ones_have_no_value() -> None:
    written = tag("input", class_="a", aria_label="b", hidden=True, disabled=False, id=None)
    assert written == '<input class="a" aria-label="b" hidden>'


def test_what_is_no_name_of_an_attribute_is_refused() -> None:
    with pytest.raises(ValueError, match="no name of an attribute"):
        tag("p", **{"x onclick=": "1"})
