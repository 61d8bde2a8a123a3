"""Who is asked about what, round by round, and what the answers amount to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest

from safety_proxy.classifiers.base import Classifier
from safety_proxy.errors import ClassifierError
from safety_proxy.inquiry import Inquiry, Side
from safety_proxy.model import HARMS, Category, Image, Kind, Query, Turn, Verdict
from safety_proxy.policy import Rules
from safety_proxy.rule import Combine, Outcome, Rule
from safety_proxy.testing import ScriptedClassifier

HATE, VIOLENCE, JAILBREAK = Category.HATE, Category.VIOLENCE, Category.JAILBREAK
PICTURE = Image("image/png", b"\x89PNG")


class Reporter(ScriptedClassifier):
    """Reports certain categories only; bad is hate 4, worse hate 7."""

    def __init__(self, name: str, *categories: Category, **options: bool) -> None:
        super().__init__({"bad": (HATE, 4), "worse": (HATE, 7)}, name=name, **options)  # type: ignore[arg-type]  # flags
        self._categories = frozenset(categories)

    def reports(self, _kind: Kind, /) -> frozenset[Category]:
        return self._categories

    def classify_now(self, queries: Sequence[Query], /) -> Sequence[Verdict]:
        self.asked += queries
        return [self._verdict(query) for query in queries]


class Limited(Reporter):
    limit: int | None = 10
    overlap: int = 4


def side(classifiers: Sequence[Classifier], *rules: Rule) -> Side:
    return Side(Rules(categories={rule.category: rule for rule in rules}), {each.name: each for each in classifiers})


def rule(combine: Combine = "any", *names: str, category: Category = HATE) -> Rule:
    return Rule(category, combine=combine, classifiers=names or None)


def message(text: str) -> Query:
    return Query(text, Kind.MESSAGE)


def run(
    sides: Sequence[Side], *queries: Query, failing: Mapping[str, str] | None = None
) -> tuple[Inquiry, list[dict[str, int]]]:
    """An inquiry to its end, and whom each round asked about how many texts."""
    inquiry = Inquiry(sides, queries)
    rounds = []
    while wanted := inquiry.wanted():
        rounds.append({classifier.name: len(positions) for classifier, positions in wanted})
        for classifier, positions in wanted:
            parts = inquiry.parts(classifier, positions)
            reason = (failing or {}).get(classifier.name)
            assert isinstance(classifier, Reporter)
            outcomes: Sequence[Outcome] = (
                [ClassifierError(reason)] * len(parts) if reason else classifier.classify_now(parts)
            )
            inquiry.answer(classifier, positions, outcomes)
    return inquiry, rounds


# -------------------------------------------------------------------------------------------------------------- rounds


def test_without_a_cascade_everybody_is_asked_at_once_and_once() -> None:
    a, b = Reporter("a", *HARMS), Reporter("b", *HARMS)
    inquiry, rounds = run([side([a, b], rule())], message("good"), message("bad"))
    assert rounds == [{"a": 2, "b": 2}]
    assert not inquiry.spared()


def test_a_cascade_asks_the_next_one_about_what_is_not_settled() -> None:
    a, b = Reporter("a", *HARMS), Reporter("b", *HARMS)
    cascade = side([a, b], rule("first_decisive", "b", "a"))
    inquiry, rounds = run([cascade], message("good"), message("bad"), message("worse"))
    assert rounds == [{"b": 3}, {"a": 1}]
    assert inquiry.spared() == {"a": 2}
    assert inquiry.outcomes(cascade, 0).keys() == {"b"}
    assert inquiry.outcomes(cascade, 1).keys() == {"a", "b"}


def test_a_failure_settles_nothing() -> None:
    a, b = Reporter("a", *HARMS), Reporter("b", *HARMS)
    _, rounds = run([side([a, b], rule("first_decisive", "a", "b"))], message("good"), failing={"a": "timeout"})
    assert rounds == [{"a": 1}, {"b": 1}]


def test_who_does_not_report_the_category_is_no_link_of_the_cascade() -> None:
    a, b = Reporter("a", VIOLENCE), Reporter("b", HATE)
    _, rounds = run([side([a, b], rule("first_decisive", "a", "b"))], message("good"))
    assert rounds == [{"a": 1, "b": 1}]  # a counts for nothing here, but may bring blocklists


def test_who_is_needed_for_another_rule_is_asked_at_once() -> None:
    a, b = Reporter("a", *HARMS), Reporter("b", *HARMS)
    rules = (rule("first_decisive", "a", "b"), rule("any", "b", category=VIOLENCE))
    inquiry, rounds = run([side([a, b], *rules)], message("good"))
    assert rounds == [{"a": 1, "b": 1}]
    assert not inquiry.spared()


def test_a_rule_that_does_not_apply_to_the_text_asks_nobody() -> None:
    a, b = Reporter("a", HATE), Reporter("b", HATE, JAILBREAK)
    rules = (rule("first_decisive", "a", "b"), rule("any", "b", category=JAILBREAK))
    _, rounds = run([side([a, b], *rules)], message("good"), Query("good", Kind.USER_PROMPT))
    assert rounds == [{"a": 2, "b": 1}]


def test_blocklists_are_always_asked() -> None:
    lists, a = Reporter("lists"), Reporter("a", HATE)
    _, rounds = run([side([lists, a], rule("first_decisive", "a"))], message("good"))
    assert rounds == [{"lists": 1, "a": 1}]


def test_two_sides_ask_a_classifier_once() -> None:
    a, b = Reporter("a", *HARMS), Reporter("b", *HARMS)
    cascade, plain = side([a, b], rule("first_decisive", "a", "b")), side([b], rule())
    inquiry, rounds = run([cascade, plain], message("good"))
    assert rounds == [{"a": 1, "b": 1}]
    assert inquiry.outcomes(plain, 0).keys() == {"b"}


def test_nothing_is_asked_about_no_text() -> None:
    assert run([side([Reporter("a", HATE)], rule())])[1] == []


# ---------------------------------------------------------------------------------------------------- what is asked


def test_conversation_and_images_go_to_those_who_read_them() -> None:
    deaf, hearing = Reporter("deaf", *HARMS), Reporter("hearing", *HARMS, reads_images=True, reads_conversation=True)
    told = (Turn("user", "hello"),)
    spoken, picture = Query("good", Kind.MESSAGE, conversation=told), Query("", Kind.IMAGE, images=(PICTURE,))
    inquiry, _ = run([side([deaf, hearing], rule())], spoken, picture)
    assert [query.conversation for query in deaf.asked] == [()]
    assert [query.conversation for query in hearing.asked] == [told, ()]
    assert inquiry.outcomes(side([deaf], rule()), 1) == {"deaf": Verdict()}


def test_long_texts_are_asked_about_in_parts_and_found_where_they_are() -> None:
    limited = Limited("a", *HARMS)
    text = "good words and bad words"
    inquiry, _ = run([side([limited], rule())], message(text))
    assert max(len(query.text) for query in limited.asked) == 10
    verdict = inquiry.outcomes(side([limited], rule()), 0)["a"]
    assert isinstance(verdict, Verdict)
    assert verdict.severities[HATE] == 4
    assert [text[span.start : span.end] for span in verdict.spans] == ["bad"]


def test_disguised_text_is_asked_about_in_its_readings_and_found_where_it_was_written() -> None:
    reader = Reporter("a", *HARMS)
    text = "this is b\u200bad, my friend"
    inquiry, rounds = run([side([reader], rule())], message(text), message("good"))
    assert rounds == [{"a": 2}]
    assert [query.text for query in reader.asked] == [text, "this is bad, my friend", "good"]
    verdict = inquiry.outcomes(side([reader], rule()), 0)["a"]
    assert isinstance(verdict, Verdict)
    assert verdict.severities[HATE] == 4
    assert [text[span.start : span.end] for span in verdict.spans] == ["b\u200bad"]


def test_what_is_found_in_the_text_and_in_a_reading_is_told_once() -> None:
    reader = Reporter("a", *HARMS)
    text = "worse words are b\u200bad"
    inquiry, _ = run([side([reader], rule())], message(text))
    verdict = inquiry.outcomes(side([reader], rule()), 0)["a"]
    assert isinstance(verdict, Verdict)
    assert sorted(text[span.start : span.end] for span in verdict.spans) == ["b\u200bad", "worse"]


@pytest.mark.parametrize("failing", [0, 1, 2])
def test_an_error_about_one_part_stays_with_its_text(failing: int) -> None:
    limited = Limited("a", *HARMS)
    inquiry = Inquiry([side([limited], rule())], [message("good words and more"), message("worse")])
    ((_, positions),) = inquiry.wanted()
    parts = inquiry.parts(limited, positions)
    outcomes: list[Outcome] = list(limited.classify_now(parts))
    outcomes[failing] = ClassifierError("timeout")
    inquiry.answer(limited, positions, outcomes)
    first, second = (inquiry.outcomes(side([limited], rule()), i)["a"] for i in (0, 1))
    assert isinstance(first, ClassifierError)
    assert isinstance(second, Verdict)
    assert second.severities[HATE] == 7
