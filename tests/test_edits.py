import re

from hypothesis import given
from hypothesis import strategies as st

from safety_proxy.edits import Draft, Stage, origin, substituted

WORDS = st.text(st.sampled_from("aab b-"), max_size=20)


def upper(text: str) -> tuple[str, Stage]:
    return substituted(re.compile("a+"), lambda found: found[0].upper(), text, aligned=True)


def shorter(text: str) -> tuple[str, Stage]:
    return substituted(re.compile("[ab]+"), lambda found: found[0][0], text)


class TestDraft:
    def test_what_is_kept_stands_where_it_stood(self) -> None:
        draft = Draft()
        draft.keep("abc")
        text, stage = draft.finished()
        assert text == "abc"
        assert origin([stage], 1, 2) == (1, 2)

    def test_what_replaces_others_stands_where_all_of_them_stood(self) -> None:
        draft = Draft()
        draft.keep("a")
        draft.replace("xyz", 5)
        draft.keep("b")
        text, stage = draft.finished()
        assert text == "axyzb"
        assert origin([stage], 2, 3) == (1, 6)
        assert origin([stage], 0, 2) == (0, 6)
        assert origin([stage], 4, 5) == (6, 7)

    def test_what_is_left_out_moves_the_rest(self) -> None:
        draft = Draft()
        draft.keep("a")
        draft.replace("", 3)
        draft.keep("b")
        text, stage = draft.finished()
        assert text == "ab"
        assert origin([stage], 1, 2) == (4, 5)
        assert origin([stage], 0, 2) == (0, 5)

    def test_one_character_for_one_is_kept(self) -> None:
        draft = Draft()
        draft.keep("a")
        draft.replace("x", 1)
        draft.keep("b")
        _, stage = draft.finished()
        assert len(stage) == 1


class TestSubstitution:
    def test_a_text_without_a_match_is_the_same(self) -> None:
        assert upper("bb") == ("bb", ())

    def test_a_match_that_stays_as_it_is_changes_nothing(self) -> None:
        assert substituted(re.compile("a"), lambda found: found[0], "abab") == ("abab", ())

    def test_an_aligned_replacement_of_equal_length_is_one_for_one(self) -> None:
        text, stage = upper("baab")
        assert text == "bAAb"
        assert origin([stage], 1, 2) == (1, 2)

    def test_one_that_is_not_aligned_is_taken_together_even_then(self) -> None:
        text, stage = substituted(re.compile("ab+"), lambda found: found[0][::-1], "-abb-")
        assert text == "-bba-"
        assert origin([stage], 1, 2) == (1, 4)

    def test_another_is_taken_together(self) -> None:
        text, stage = shorter("- aab -")
        assert text == "- a -"
        assert origin([stage], 2, 3) == (2, 5)

    @given(WORDS)
    def test_it_is_what_a_pattern_substitutes(self, text: str) -> None:
        assert shorter(text)[0] == re.sub("[ab]+", lambda found: found[0][0], text)

    @given(WORDS)
    def test_origins_of_two_stages_lie_in_the_text_in_order_and_hold_what_became_of_them(self, text: str) -> None:
        middle, first = shorter(text)
        end, second = substituted(re.compile("- +"), lambda _: "-", middle)
        stages = [stage for stage in (first, second) if stage]
        places = [origin(stages, i, i + 1) for i in range(len(end))]
        assert places == sorted(places)
        for char, (start, stop) in zip(end, places, strict=True):
            assert 0 <= start < stop <= len(text)
            assert char in text[start:stop]
