"""Several verdicts make one, and the order of asking is the order that was written."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safety_proxy.errors import ClassifierError
from safety_proxy.model import HARMS, Annotation, Category, Kind, Verdict
from safety_proxy.rule import Outcome, Rule, applies

HATE, JAILBREAK = Category.HATE, Category.JAILBREAK
NAMES = ("a", "b", "c")


def says(severity: int, failure: str | None = None) -> Verdict:
    return Verdict({HATE: severity}, failures={} if failure is None else {HATE: failure})


def finds(found: bool) -> Verdict:
    return Verdict(detections={JAILBREAK: found})


SILENT = Verdict({Category.VIOLENCE: 7})
DOWN = ClassifierError("timeout")


def judged(combine: str, *outcomes: Outcome, category: Category = HATE) -> tuple[bool | None, int | bool | None, str | None]:
    """Whether it is filtered, the severity or finding, and the reason why not all is known."""
    rule = Rule(category, classifiers=NAMES, combine=combine)  # type: ignore[arg-type]  # one of its words
    annotation, reason = rule.judge(dict(zip(NAMES, outcomes, strict=False)))
    if annotation is None:
        return None, None, reason
    return annotation.filtered, annotation.severity if category in HARMS else annotation.detected, reason


@pytest.mark.parametrize(
    ("outcomes", "expected"),
    [
        ((says(2), says(6)), (True, 6, None)),
        ((says(2), says(3)), (False, 3, None)),
        ((says(2), DOWN), (False, 2, "timeout")),
        ((says(6), DOWN), (True, 6, "timeout")),
        ((says(6), SILENT), (True, 6, None)),
        ((SILENT,), (None, None, "missing_category")),
        ((DOWN,), (None, None, "timeout")),
        ((), (None, None, "missing_category")),
    ],
)
def test_any_takes_the_most_severe_verdict(outcomes: tuple[Outcome, ...], expected: object) -> None:
    assert judged("any", *outcomes) == expected


@pytest.mark.parametrize(
    ("outcomes", "expected"),
    [
        ((says(6), says(4)), (True, 4, None)),
        ((says(6), says(3)), (False, 3, None)),
        ((says(6), SILENT), (True, 6, None)),
        # One who is sure that it is safe settles it, whoever failed.
        ((says(1), DOWN), (False, 1, None)),
        # One who was not heard might have said that it is safe.
        ((says(6), DOWN), (False, 6, "timeout")),
        ((DOWN, DOWN), (None, None, "timeout")),
        # The least that is known of each is harm.
        ((says(6), says(5, "timeout")), (True, 5, "timeout")),
        # What is known of a part is no safety of the whole.
        ((says(6), says(0, "timeout")), (False, 0, "timeout")),
        ((SILENT, SILENT), (None, None, "missing_category")),
    ],
)
def test_all_takes_the_least_severe_verdict(outcomes: tuple[Outcome, ...], expected: object) -> None:
    assert judged("all", *outcomes) == expected


@pytest.mark.parametrize(
    ("outcomes", "expected"),
    [
        ((says(1), says(7)), (False, 1, None)),
        ((says(6), says(0)), (True, 6, None)),
        ((says(4), says(0)), (False, 0, None)),
        ((says(4), says(5)), (True, 5, None)),
        ((says(2), says(3), says(4)), (True, 4, None)),
        ((DOWN, says(3)), (False, 3, None)),
        ((says(3), DOWN), (False, 3, "timeout")),
        ((says(4), DOWN), (True, 4, "timeout")),
        ((DOWN, DOWN), (None, None, "timeout")),
        ((SILENT, says(4)), (True, 4, None)),
        ((says(0, "timeout"), says(3)), (False, 3, None)),
        ((says(6, "timeout"), says(0)), (True, 6, "timeout")),
        ((says(5),), (True, 5, None)),
    ],
)
def test_the_first_who_is_sure_decides_else_the_last(outcomes: tuple[Outcome, ...], expected: object) -> None:
    assert judged("first_decisive", *outcomes) == expected


@pytest.mark.parametrize(
    ("combine", "outcomes", "expected"),
    [
        ("any", (finds(False), finds(True)), (True, True, None)),
        ("all", (finds(False), finds(True)), (False, False, None)),
        ("all", (finds(True), finds(True)), (True, True, None)),
        ("all", (finds(True), DOWN), (False, True, "timeout")),
        ("all", (finds(False), DOWN), (False, False, None)),
        ("first_decisive", (finds(False), finds(True)), (False, False, None)),
        ("first_decisive", (DOWN, finds(True)), (True, True, None)),
    ],
)
def test_detections_are_combined_alike(combine: str, outcomes: tuple[Outcome, ...], expected: object) -> None:
    assert judged(combine, *outcomes, category=JAILBREAK) == expected


def test_who_does_not_count_is_not_heard() -> None:
    rule = Rule(HATE, classifiers=("a",))
    assert rule.judge({"a": says(1), "b": says(7)}) == (Annotation(filtered=False, severity=1), None)
    assert rule.counts("a")
    assert not rule.counts("b")
    assert Rule(HATE).counts("b")


def test_an_error_about_other_categories_says_nothing_of_this_one() -> None:
    error = ClassifierError("timeout", categories={JAILBREAK})
    assert judged("any", says(1), error) == (False, 1, None)


@pytest.mark.parametrize(
    ("outcomes", "following"),
    [
        ({}, "b"),
        ({"b": says(0)}, None),
        ({"b": says(3)}, "a"),
        ({"b": says(6)}, None),
        ({"b": DOWN}, "a"),
        ({"b": SILENT}, "a"),
        ({"b": says(0, "timeout")}, "a"),
        ({"b": says(3), "a": says(3)}, None),
        ({"a": says(3)}, "b"),
    ],
)
def test_a_cascade_asks_in_its_order_until_somebody_is_sure(outcomes: dict[str, Outcome], following: str | None) -> None:
    assert Rule(HATE, classifiers=("b", "a"), combine="first_decisive").next_in(("b", "a"), outcomes) == following


@pytest.mark.parametrize(
    ("category", "kinds"),
    [
        (HATE, set(Kind)),
        (JAILBREAK, {Kind.USER_PROMPT}),
        (Category.INDIRECT_ATTACK, {Kind.DOCUMENT}),
        (Category.PROTECTED_MATERIAL_CODE, {Kind.COMPLETION}),
    ],
)
def test_a_category_is_looked_for_where_it_can_occur(category: Category, kinds: set[Kind]) -> None:
    assert {kind for kind in Kind if applies(category, kind)} == kinds


# ---------------------------------------------------------------------------------------------------------- properties

severities = st.integers(0, 7)
verdicts = st.builds(says, severities, st.none() | st.sampled_from(["timeout", "rejected"])) | st.just(SILENT)
errors = st.sampled_from([DOWN, ClassifierError("rejected")])
everybody = st.fixed_dictionaries(dict.fromkeys(NAMES, verdicts | errors))
rules = st.builds(
    Rule,
    st.just(HATE),
    threshold=st.sampled_from([2, 4, 6]),
    classifiers=st.permutations(NAMES).map(tuple),
    combine=st.sampled_from(["any", "all", "first_decisive"]),
    below=st.integers(0, 4),
    above=st.integers(4, 7),
)


@given(rules, everybody)
def test_who_is_asked_only_when_needed_changes_no_judgement(rule: Rule, outcomes: dict[str, Outcome]) -> None:
    chain = rule.classifiers or ()
    asked: dict[str, Outcome] = {}
    while (following := rule.next_in(chain, asked)) is not None:
        asked[following] = outcomes[following]
    if rule.combine == "first_decisive":
        assert rule.judge(asked) == rule.judge(outcomes)


@given(rules, everybody)
def test_what_is_filtered_was_found_harmful_by_somebody_and_what_passes_was_judged(
    rule: Rule, outcomes: dict[str, Outcome]
) -> None:
    annotation, reason = rule.judge(outcomes)
    said = [o.severities[HATE] for o in outcomes.values() if isinstance(o, Verdict) and HATE in o.severities]
    if annotation is not None and annotation.filtered:
        assert max(said) >= rule.threshold
    if reason is None:
        assert annotation is not None
        settled = [o for o in outcomes.values() if isinstance(o, Verdict) and HATE in o.severities and not o.failures]
        assert any(o.severities[HATE] == annotation.severity for o in settled)


@given(st.sampled_from(["any", "all"]), everybody, st.permutations(NAMES))
def test_any_and_all_do_not_depend_on_the_order(combine: str, outcomes: dict[str, Outcome], order: list[str]) -> None:
    rule = Rule(HATE, combine=combine)  # type: ignore[arg-type]  # one of its words
    assert rule.judge(outcomes) == rule.judge({name: outcomes[name] for name in order})
