from __future__ import annotations

import pytest

from safety_proxy.store.base import NewItem, StoredItem, check_text


@pytest.mark.parametrize("text", ["", "badger", "\U0001f9a1", "a\n\x01", "x" * 10])
def test_what_can_be_kept_is_let_pass(text: str) -> None:
    check_text(text)
    check_text(text, 10)


@pytest.mark.parametrize(
    ("text", "why"), [("a\0", "NUL"), ("\ud800", "surrogate"), ("\udfff a", "surrogate"), ("x" * 11, "than 10 characters")]
)
def test_what_cannot_be_kept_is_refused_without_being_quoted(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why) as refused:
        check_text(text, 10)
    assert text not in str(refused.value)


def test_an_item_shows_no_text_where_it_may_be_logged() -> None:
    assert "secret" not in f"{NewItem('secret', 'secret')!r} {StoredItem('1', 'secret', 'secret')!r}"
