from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safety_proxy.classifiers.cache_keys import LENGTH, key_of
from safety_proxy.model import Image, Kind, Query, Turn

SECRET = b"of these tests"
PLAIN = Query("the text", Kind.USER_PROMPT, tenant="mine")
words = st.text(st.sampled_from("a:1\x00\ud800é"), max_size=3)
"""Few characters, so that fields look alike; one is a lone surrogate."""
queries = st.builds(
    Query,
    words,
    st.sampled_from(Kind),
    st.booleans(),
    st.booleans(),
    st.lists(st.builds(Image, words, st.binary(max_size=2)), max_size=2).map(tuple),
    st.lists(st.builds(Turn, words, words), max_size=2).map(tuple),
    words,
)


def key(query: Query, identity: str = "it", *, secret: bytes = SECRET, shared: bool = False) -> bytes:
    return key_of(query, identity, secret=secret, shared=shared)


@given(queries, queries, words, words)
def test_keys_are_equal_exactly_if_everything_is(one: Query, other: Query, identity: str, another: str) -> None:
    same = (one, identity) == (other, another)
    assert (key(one, identity) == key(other, another)) == same


@given(queries, queries)
def test_tenants_that_share_differ_in_nothing_else(one: Query, other: Query) -> None:
    same = replace(one, tenant="") == replace(other, tenant="")
    assert (key(one, shared=True) == key(other, shared=True)) == same


@pytest.mark.parametrize(
    "other",
    [
        replace(PLAIN, text="the text "),
        replace(PLAIN, text="The text"),
        replace(PLAIN, kind=Kind.DOCUMENT),
        replace(PLAIN, open_left=True),
        replace(PLAIN, open_right=True),
        replace(PLAIN, open_left=True, open_right=True),
        replace(PLAIN, tenant="theirs"),
        replace(PLAIN, tenant=""),
        replace(PLAIN, conversation=(Turn("user", ""),)),
        replace(PLAIN, conversation=(Turn("user", "before"),)),
        replace(PLAIN, conversation=(Turn("assistant", "before"),)),
        replace(PLAIN, conversation=(Turn("user", "before"), Turn("user", ""))),
        replace(PLAIN, images=(Image("image/png", b"1"),)),
        replace(PLAIN, images=(Image("image/gif", b"1"),)),
        replace(PLAIN, images=(Image("image/png", b"2"),)),
        replace(PLAIN, images=(Image("image/png", b"1"), Image("image/png", b""))),
    ],
)
def test_each_field_makes_a_difference(other: Query) -> None:
    assert key(other) != key(PLAIN)


def test_the_secret_and_the_classifier_make_a_difference() -> None:
    assert len({key(PLAIN), key(PLAIN, secret=b"another"), key(PLAIN, "it model=2")}) == 3


def test_all_tenants_together_are_not_the_one_without_a_name() -> None:
    nameless = replace(PLAIN, tenant="")
    assert key(nameless, shared=True) != key(nameless)


def test_a_key_has_one_length_and_holds_nothing_of_the_text() -> None:
    made = key(replace(PLAIN, text="the text" * 1000))
    assert len(made) == LENGTH
    assert b"text" not in made


def test_the_format_stays_as_it_is() -> None:
    """Machines that share a store are not all brought up to date at once."""
    query = Query("é\ud800", Kind.DOCUMENT, True, False, (Image("image/png", b"\x00"),), (Turn("user", "hi"),), "t")
    assert key(query).hex() == "964c747a75d5961574d4ec6a0ea051d5cec914bcb9fbfc08999072d1b42af63d"
