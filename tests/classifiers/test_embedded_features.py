"""Any text becomes n-grams, always the same ones, in time linear in its length."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from safety_proxy.classifiers.embedded.features import Recipe, align, distinct, ngrams, prepare

RECIPE = Recipe()
TEXTS = st.text(st.characters(codec=None, exclude_categories=()), max_size=200)  # lone surrogates and astral ones, too


def buckets(text: str, recipe: Recipe = RECIPE) -> list[int]:
    return [int(bucket) for bucket in distinct([family.buckets for family in ngrams(prepare(text), recipe)])]


@given(TEXTS, st.booleans(), st.booleans())
def test_any_text_has_features_in_range_and_always_the_same(text: str, left: bool, right: bool) -> None:
    prepared = prepare(text, open_left=left, open_right=right)
    families = ngrams(prepared, RECIPE)
    for family in families:
        assert (family.buckets >= 0).all()
        assert (family.buckets < 1 << RECIPE.bits).all()
        assert (family.starts >= 0).all()
        assert (family.ends <= len(prepared)).all()
        assert (family.starts < family.ends).all()
        assert (np.diff(family.starts) > 0).all()
        assert (np.diff(family.ends) > 0).all()
    again = ngrams(prepare(text, open_left=left, open_right=right), RECIPE)
    assert [f.buckets.tolist() for f in again] == [f.buckets.tolist() for f in families]


@given(TEXTS)
def test_a_prepared_text_has_a_blank_at_either_end_and_no_runs(text: str) -> None:
    prepared = prepare(text)
    assert prepared[0] == prepared[-1] == " "
    assert "  " not in prepared
    assert not any(a == b == c for a, b, c in zip(prepared, prepared[1:], prepared[2:], strict=False))


@pytest.mark.parametrize(
    ("text", "prepared"),
    [
        ("", " "),
        (" \n\t", " "),
        ("\u200b\ufeff", " "),
        ("Hello,\n\n  World", " hello, world "),
        ("\uff28e\u00adll\u200bo", " hello "),
        ("sooooo goooood!!!!", " soo good!! "),
        ("a\x00b\x7fc", " a b c "),
        ("\ud800", " \ud800 "),
    ],
)
def test_preparation(text: str, prepared: str) -> None:
    assert prepare(text) == prepared


@pytest.mark.parametrize(
    ("text", "left", "right", "prepared"),
    [
        ("assassin says hel", True, True, " says "),
        ("assassin says hel", False, True, " assassin says "),
        ("assassin says hel", True, False, " says hel "),
        ("ends here.", False, True, " ends here. "),
        (" starts here", True, False, " starts here "),
        ("word", True, True, " "),
        ("abcdefghij" * 5, True, True, f" {'abcdefghij' * 5} "),
    ],
)
def test_a_word_that_touches_an_open_edge_is_dropped_unless_it_is_no_word(
    text: str, left: bool, right: bool, prepared: str
) -> None:
    assert prepare(text, open_left=left, open_right=right) == prepared


def test_normalisation_of_many_combining_marks_is_not_quadratic() -> None:
    """CPython sorts a run of marks by insertion; 200,000 of them at once would take minutes."""
    assert len(prepare("a" + "\u0301\u0327" * 100_000)) > 2


def test_words_are_told_apart_by_the_order_of_letters_and_of_words() -> None:
    recipe = Recipe(chars=(9, 8), words=(1, 2))
    assert buckets("on", recipe) != buckets("no", recipe)
    assert set(buckets("man bites dog", recipe)) != set(buckets("dog bites man", recipe))
    assert set(buckets("man", recipe)) < set(buckets("man, dog", recipe))


def test_single_words_may_be_left_out() -> None:
    families = ngrams(prepare("one two three"), Recipe(chars=(9, 8), words=(2, 2)))
    assert [len(family.buckets) for family in families] == [2]


def test_words_are_parted_by_punctuation_and_emoji_but_not_by_other_letters() -> None:
    recipe = Recipe(chars=(9, 8), words=(1, 1))
    assert len(buckets("one\u2014two\U0001f600three", recipe)) == 3
    assert len(buckets("caf\u00e9 na\u00efve \u4f60\u597d don't", recipe)) == 4


def test_the_n_grams_of_a_text_are_those_of_the_recipe() -> None:
    prepared = " ab cd "
    families = ngrams(prepared, RECIPE)
    assert [(f.ends[0] - f.starts[0], len(f.buckets)) for f in families] == [(3, 5), (4, 4), (5, 3), (2, 2), (5, 1)]
    assert [prepared[s:e] for s, e in zip(families[3].starts, families[3].ends, strict=True)] == ["ab", "cd"]


def test_another_seed_and_another_size_give_other_buckets() -> None:
    assert buckets("hello there") != buckets("hello there", Recipe(seed=1))
    assert max(buckets("hello there", Recipe(bits=8))) < 256


def test_distinct_keeps_each_bucket_once() -> None:
    assert distinct([np.array([3, 1, 3]), np.array([2, 1])]).tolist() == [1, 2, 3]
    assert distinct([]).tolist() == []


@given(TEXTS)
def test_aligned_words_lie_in_order_in_both_texts(text: str) -> None:
    prepared, pieces = align(text)
    at, prepared_at = 0, 0
    for piece in pieces:
        assert at <= piece.start < piece.end <= len(text)
        assert prepared_at <= piece.prepared_start < piece.prepared_end <= len(prepared)
        at, prepared_at = piece.end, piece.prepared_end


@given(st.lists(st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=12), max_size=12))
def test_the_aligned_text_of_plain_words_is_the_prepared_text(words: list[str]) -> None:
    text = "  ".join(words)
    prepared, pieces = align(text)
    assert prepared == prepare(text)
    assert [prepared[p.prepared_start : p.prepared_end] for p in pieces] == [prepare(word).strip() for word in words]


def test_a_long_run_without_blanks_is_aligned_in_pieces() -> None:
    prepared, pieces = align("ab" * 50 + " \u200b end")
    assert prepared == f" {'ab' * 50} end "
    assert [(p.start, p.end) for p in pieces] == [(0, 40), (40, 80), (80, 100), (103, 106)]
