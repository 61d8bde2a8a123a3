"""Any text becomes n-grams, always the same ones, in time linear in its length."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from safety_proxy.classifiers.embedded import features as module
from safety_proxy.classifiers.embedded.features import Recipe, align, distinct, first_of_each, ngrams, prepare

RECIPE = Recipe()
TEXTS = st.text(st.characters(codec=None, exclude_categories=()), max_size=200)  # lone surrogates and astral ones, too
ASCII = st.text(st.characters(min_codepoint=0, max_codepoint=127), max_size=60)
WORDS = st.lists(
    st.text("abcXYZ,;:?2", min_size=1, max_size=9).filter(lambda word: sum(map(str.isalpha, word)) != 1), max_size=9
)
"""Words without anything that stands for a letter, and without letters that stand alone."""
INVISIBLE = st.sampled_from("\u00ad\u200b\u200d\u2060\ufeff\ufe0f\U000e0041")


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
def test_a_prepared_text_has_a_blank_at_either_end_and_no_runs_of_blanks(text: str) -> None:
    prepared = prepare(text)
    assert prepared[0] == prepared[-1] == " "
    assert "  " not in prepared
    assert prepared.strip() or prepared == " "


@given(WORDS)
def test_what_is_prepared_stays_as_it_is_if_it_is_prepared_again(words: list[str]) -> None:
    prepared = prepare(" ".join(words))
    assert prepare(prepared) == prepared
    assert not any(a == b == c for a, b, c in zip(prepared, prepared[1:], prepared[2:], strict=False))


@given(ASCII, st.sampled_from(["", " ", "\n\t", "\x00", "\r\n "]))
def test_case_and_surrounding_blanks_do_not_matter(text: str, blanks: str) -> None:
    assert prepare(text.upper()) == prepare(text.lower()) == prepare(blanks + text + blanks)


@given(ASCII, st.lists(st.tuples(st.integers(0, 60), INVISIBLE), max_size=5))
def test_what_is_invisible_changes_nothing_wherever_it_stands(text: str, inserted: list[tuple[int, str]]) -> None:
    hidden = text
    for place, char in inserted:
        hidden = hidden[:place] + char + hidden[place:]
    assert prepare(hidden) == prepare(text)


@given(WORDS, st.booleans())
def test_an_open_edge_takes_away_at_most_the_word_at_that_edge(words: list[str], left: bool) -> None:
    whole = prepare(" ".join(words)).strip()
    part = prepare(" ".join(words), open_left=left, open_right=not left).strip()
    assert whole.endswith(part) if left else whole.startswith(part)
    assert len(whole) - len(part) <= max(map(len, words), default=0) + 1


@given(st.text("abA!\u00e9\U0001f600\ud800 ", max_size=30))
def test_a_run_of_three_is_found_wherever_it_stands(text: str) -> None:
    assert module._repeats(text) == any(a == b == c for a, b, c in zip(text, text[1:], text[2:], strict=False))


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
        ("k1ll h3r", " kill her "),
        ("K!LL", " kill "),
        ("b@$t0n", " baston "),
        ("7ell m3 4 t3st", " 7ell m3 4 test "),  # only between letters
        ("in 1984", " in 1984 "),
        ("mail me: a@b.example", " mail me: aab.example "),
        ("k i l l", " kill "),
        ("k.i.l.l you", " kill you "),
        ("k-i-l-l, k_i_l_l, k*i*l*l", " kill, kill, kill "),
        ("K I L L Y O U now", " killyou now "),
        ("a b c", " a b c "),
        ("a b c d", " abcd "),
        ("a b c de", " a b c de "),
        ("k i l l e2", " kill e2 "),
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
        ("ends here ", False, True, " ends here "),
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


BUCKETS = st.tuples(st.integers(0, 2**32 - 1), st.integers(0, 3 * module._FEW), st.integers(1, 2 * module._FEW))
"""A seed, how many, and below which number: more and less than are sorted, with many repetitions and with few."""


@given(BUCKETS)
def test_of_all_mentions_of_a_bucket_just_one_counts(drawn: tuple[int, int, int]) -> None:
    seed, size, most = drawn
    buckets = np.random.default_rng(seed).integers(0, most, size)
    once = first_of_each(buckets, most)
    assert (once.shape, once.dtype.kind) == ((size,), "b")
    assert sorted(buckets[once].tolist()) == sorted(set(buckets.tolist()))


@given(st.lists(st.integers(0, 9), max_size=40))
def test_few_and_many_buckets_are_counted_alike(numbers: list[int]) -> None:
    buckets = np.array(numbers, np.intp)
    many = np.tile(buckets, module._FEW)
    for some in (buckets, many):
        assert np.sort(some[first_of_each(some, 10)]).tolist() == distinct([some]).tolist()


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
    assume(module._SPACED_OUT.search(f" {' '.join(words).lower()} ") is None)  # such letters are joined across blanks
    assert prepared == prepare(text)
    assert [prepared[p.prepared_start : p.prepared_end] for p in pieces] == [prepare(word).strip() for word in words]


def test_a_long_run_without_blanks_is_aligned_in_pieces() -> None:
    prepared, pieces = align("ab" * 50 + " \u200b end")
    assert prepared == f" {'ab' * 50} end "
    assert [(p.start, p.end) for p in pieces] == [(0, 40), (40, 80), (80, 100), (103, 106)]
