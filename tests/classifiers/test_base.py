from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safety_proxy.classifiers.base import Classifier, LocalClassifier, merge, split
from safety_proxy.model import Category, Kind, Query, Span, Verdict

HATE, VIOLENCE, JAILBREAK = Category.HATE, Category.VIOLENCE, Category.JAILBREAK


class Remote:
    name = identity = "remote"
    limit: int | None = None
    overlap = 0
    reads_images = False

    def reports(self, kind: Kind, /) -> frozenset[Category]:
        return frozenset()

    async def classify(self, queries: Sequence[Query], /) -> Sequence[Verdict]:
        return [Verdict() for _ in queries]

    async def close(self) -> None:
        """Nothing to close."""


class Local(Remote):
    def classify_now(self, queries: Sequence[Query], /) -> Sequence[Verdict]:
        return [Verdict() for _ in queries]


class TestClassifier:
    def test_only_one_that_answers_at_once_is_local(self) -> None:
        remote: Classifier = Remote()
        local: LocalClassifier = Local()
        assert not isinstance(remote, LocalClassifier)
        assert isinstance(local, LocalClassifier)


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
