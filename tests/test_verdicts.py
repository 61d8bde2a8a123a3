from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safety_proxy.model import Category, Kind, Query, Span, Turn, Verdict
from safety_proxy.verdicts import merge, split, union

HATE, VIOLENCE, JAILBREAK = Category.HATE, Category.VIOLENCE, Category.JAILBREAK


class TestSplit:
    @pytest.mark.parametrize("limit", [None, 5, 6])
    def test_a_text_within_the_limit_stays_whole(self, limit: int | None) -> None:
        query = Query("abcde", Kind.DOCUMENT, open_right=True)
        assert split(query, limit, 2) == [query]

    def test_parts_share_their_overlap_and_are_open_at_the_cuts(self) -> None:
        assert split(Query("abcdefgh", Kind.MESSAGE), 4, 2) == [
            Query("abcd", Kind.MESSAGE, open_right=True),
            Query("cdef", Kind.MESSAGE, open_left=True, open_right=True),
            Query("efgh", Kind.MESSAGE, open_left=True),
        ]

    def test_a_text_that_was_open_stays_open(self) -> None:
        first, last = split(Query("abcdef", Kind.MESSAGE, open_left=True, open_right=True), 4, 2)
        assert (first.open_left, last.open_right) == (True, True)

    def test_each_part_keeps_all_that_a_classifier_is_told(self) -> None:
        query = Query("abcdef", Kind.DOCUMENT, conversation=(Turn("user", "before"),), tenant="mine")
        told = {(part.kind, part.conversation, part.tenant) for part in split(query, 4, 2)}
        assert told == {(Kind.DOCUMENT, query.conversation, "mine")}

    @given(st.text(max_size=40), st.integers(2, 12), st.data())
    def test_every_stretch_up_to_the_overlap_lies_whole_in_a_part(
        self, text: str, limit: int, choose: st.DataObject
    ) -> None:
        overlap = choose.draw(st.integers(0, limit - 1))
        parts = split(Query(text, Kind.MESSAGE), limit, overlap)
        assert all(len(part.text) <= limit for part in parts)
        assert parts[0].text + "".join(part.text[overlap:] for part in parts[1:]) == text
        stretches = {text[start : start + overlap] for start in range(len(text) - overlap + 1)}
        assert all(any(stretch in part.text for part in parts) for stretch in stretches)


def some(**fields: object) -> Verdict:
    """A verdict on violence and jailbreak that finds nothing, but for *fields*."""
    harmless: dict[str, object] = {"severities": {VIOLENCE: 0}, "detections": {JAILBREAK: False}}
    return Verdict(**(harmless | fields))  # type: ignore[arg-type]  # the fields of a verdict, by name


class TestMerge:
    def test_one_verdict_stays_as_it_is(self) -> None:
        verdict = some(spans=(Span(1, 2, "x"),), failures={HATE: "timeout"})
        assert merge([verdict]) is verdict

    def test_the_worst_part_counts(self) -> None:
        assert merge([some(severities={VIOLENCE: 2}), some(severities={VIOLENCE: 5}), some()]).severities == {VIOLENCE: 5}
        assert merge([some(), some(detections={JAILBREAK: True}), some()]).detections == {JAILBREAK: True}
        assert merge([some(), some()]) == some()

    def test_a_failure_of_one_part_is_one_of_the_whole(self) -> None:
        merged = merge([some(), Verdict(failures={VIOLENCE: "timeout", JAILBREAK: "timeout"}), some()])
        assert merged.failures == {VIOLENCE: "timeout", JAILBREAK: "timeout"}

    def test_harm_in_one_part_is_not_lost_by_the_failure_of_another(self) -> None:
        failed = Verdict(detections={JAILBREAK: False}, failures={VIOLENCE: "server_error"})
        for parts in ([some(severities={VIOLENCE: 6}), failed], [failed, some(severities={VIOLENCE: 6})]):
            merged = merge(parts)
            assert merged.severities == {VIOLENCE: 6}
            assert merged.failures == {VIOLENCE: "server_error"}

    def test_the_first_of_several_reasons_is_kept(self) -> None:
        first, second = Verdict(failures={HATE: "timeout"}), Verdict(failures={HATE: "unreachable"})
        assert merge([first, second]).failures == {HATE: "timeout"}

    @pytest.mark.parametrize("silent", [Verdict(), Verdict(severities={HATE: 0})])
    def test_what_one_part_was_not_judged_for_stays_undecided_for_the_whole(self, silent: Verdict) -> None:
        merged = merge([some(severities={VIOLENCE: 4}), silent])
        assert merged.severities[VIOLENCE] == 4
        assert merged.failures[VIOLENCE] == merged.failures[JAILBREAK] == "missing_category"

    def test_a_part_that_says_why_it_failed_is_not_called_silent(self) -> None:
        merged = merge([Verdict(), some(), Verdict(failures={VIOLENCE: "timeout"})])
        assert merged.failures == {VIOLENCE: "timeout", JAILBREAK: "missing_category"}

    def test_a_blocklist_counts_if_it_matched_or_was_searched_everywhere(self) -> None:
        first, second = {"a": False, "b": True, "c": False, "d": True}, {"a": False, "c": True, "d": False}
        merged = merge([Verdict(blocklists=first), Verdict(blocklists=second)])
        assert merged.blocklists == {"a": False, "b": True, "c": True, "d": True}
        assert merge([Verdict(blocklists={"a": False}), Verdict()]).blocklists == {}

    def test_of_each_score_the_highest_is_told_and_none_gets_lost(self) -> None:
        parts = [
            some(scores={"violence": 0.2, "unsafe": 0.7}),
            some(scores={"violence": 0.5}),
            some(scores={"hate": 0.0}),
            some(),
        ]
        for merged in (merge(parts), merge(parts[::-1])):
            assert merged.scores == {"violence": 0.5, "unsafe": 0.7, "hate": 0.0}

    def test_a_score_decides_nothing(self) -> None:
        merged = merge([some(scores={"violence": 1.0}), some()])
        assert (merged.severities, merged.failures) == ({VIOLENCE: 0}, {})

    def test_spans_move_to_their_place_in_the_text(self) -> None:
        parts = [some(spans=(Span(0, 2, "x", 0.5),)), some(spans=(Span(1, 3, "y"),))]
        assert merge(parts, [0, 10]).spans == (Span(0, 2, "x", 0.5), Span(11, 13, "y"))
        assert merge(parts).spans == (Span(0, 2, "x", 0.5), Span(1, 3, "y"))

    def test_offsets_that_do_not_fit_the_parts_are_refused(self) -> None:
        with pytest.raises(ValueError, match="shorter"):
            merge([some(), some()], [0])

    def test_no_verdict_at_all_says_nothing(self) -> None:
        assert merge([]) == Verdict()


verdicts = st.builds(
    Verdict,
    severities=st.dictionaries(st.sampled_from([HATE, VIOLENCE]), st.integers(0, 7)),
    detections=st.dictionaries(st.just(JAILBREAK), st.booleans()),
    blocklists=st.dictionaries(st.sampled_from("ab"), st.booleans()),
    failures=st.dictionaries(st.sampled_from([HATE, VIOLENCE, JAILBREAK]), st.sampled_from(["timeout", "rejected"])),
    scores=st.dictionaries(st.sampled_from("xy"), st.floats(0, 1)),
)


class TestUnion:
    def test_one_verdict_stays_as_it_is(self) -> None:
        verdict = some(spans=(Span(1, 2, "x"),), failures={HATE: "timeout"})
        assert union([verdict]) is verdict

    def test_no_verdict_at_all_says_nothing(self) -> None:
        assert union([]) == Verdict()

    def test_answers_on_different_matters_stand_side_by_side(self) -> None:
        parts = [Verdict({VIOLENCE: 3}), Verdict(detections={JAILBREAK: True}), Verdict(blocklists={"a": False})]
        assert union(parts) == Verdict({VIOLENCE: 3}, {JAILBREAK: True}, {"a": False})

    def test_silence_of_one_on_what_the_other_judged_is_no_failure(self) -> None:
        assert union([Verdict({VIOLENCE: 0}), Verdict({HATE: 0})]).failures == {}

    def test_of_two_answers_on_one_matter_the_more_severe_counts(self) -> None:
        first = Verdict({VIOLENCE: 2}, {JAILBREAK: True}, {"a": True}, scores={"x": 0.1})
        second = Verdict({VIOLENCE: 5}, {JAILBREAK: False}, {"a": False}, scores={"x": 0.9})
        for parts in ([first, second], [second, first]):
            assert union(parts) == Verdict({VIOLENCE: 5}, {JAILBREAK: True}, {"a": True}, scores={"x": 0.9})

    def test_a_failure_stays_one_though_another_answer_decided(self) -> None:
        failed = Verdict(failures={VIOLENCE: "timeout"})
        for parts in ([failed, Verdict({VIOLENCE: 0})], [Verdict({VIOLENCE: 0}), failed]):
            assert union(parts) == Verdict({VIOLENCE: 0}, failures={VIOLENCE: "timeout"})

    def test_the_first_of_several_reasons_is_kept(self) -> None:
        first, second = Verdict(failures={HATE: "timeout"}), Verdict(failures={HATE: "unreachable"})
        assert union([first, second]).failures == {HATE: "timeout"}

    def test_spans_of_all_are_kept_where_they_are(self) -> None:
        first, second = Span(0, 2, "x"), Span(0, 3, "y")
        assert union([Verdict(spans=(first,)), Verdict(spans=(second,))]).spans == (first, second)

    @given(st.lists(verdicts, max_size=4))
    def test_nothing_that_was_said_gets_lost_and_nothing_gets_milder(self, parts: list[Verdict]) -> None:
        whole = union(parts)
        for part in parts:
            assert all(whole.severities[category] >= value for category, value in part.severities.items())
            assert all(whole.detections[category] >= value for category, value in part.detections.items())
            assert all(whole.blocklists[name] >= value for name, value in part.blocklists.items())
            assert all(whole.scores[name] >= value for name, value in part.scores.items())
            assert whole.failures.keys() >= part.failures.keys()

    @given(st.lists(verdicts, min_size=1, max_size=4))
    def test_parts_of_a_text_are_never_taken_for_better_than_answers_about_it(self, parts: list[Verdict]) -> None:
        merged, together = merge(parts), union(parts)
        assert (merged.severities, merged.detections) == (together.severities, together.detections)
        assert merged.failures.keys() >= together.failures.keys()
