"""The laws of `decide` and `strictest`, over arbitrary rules and arbitrary things that classifiers may say."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from random import Random

from hypothesis import assume, given
from hypothesis import strategies as st

from safety_proxy.errors import ClassifierError
from safety_proxy.model import ALLOWED, HARMS, Action, Annotation, Category, Decision, Kind, Verdict
from safety_proxy.policy import Blocklist, Rules, annotating, decide, strictest
from safety_proxy.rule import Outcome, Rule, applies

NAMES = ("a", "b", "c")
LISTS = ("brands", "rivals")
REASONS = st.sampled_from(["timeout", "internal", "missing_category"])
STRICTNESS = {Action.ALLOW: 0, Action.FAIL: 1, Action.FILTER: 2}

categories = st.sampled_from(Category)
harms = st.sampled_from(sorted(HARMS))
kinds = st.sampled_from(Kind)
verdicts: st.SearchStrategy[Verdict] = st.builds(
    Verdict,
    severities=st.dictionaries(categories, st.integers(0, 7)),
    detections=st.dictionaries(categories, st.booleans()),
    blocklists=st.dictionaries(st.sampled_from(LISTS), st.booleans()),
    failures=st.dictionaries(categories, REASONS, max_size=2),
)
errors = st.builds(ClassifierError, REASONS, categories=st.none() | st.sets(categories))
outcomes: st.SearchStrategy[dict[str, Outcome]] = st.dictionaries(st.sampled_from(NAMES), verdicts | errors)


@st.composite
def some_rules(draw: st.DrawFn) -> Rules:
    each = [
        Rule(
            category,
            block=draw(st.booleans()),
            threshold=draw(st.sampled_from([2, 4, 6])),
            fail_open=draw(st.booleans()),
            classifiers=draw(st.none() | st.lists(st.sampled_from(NAMES), min_size=1, unique=True).map(tuple)),
        )
        for category in draw(st.sets(categories))
    ]
    lists = [Blocklist(name, ("x",), block=draw(st.booleans())) for name in draw(st.sets(st.sampled_from(LISTS)))]
    return Rules(
        categories={rule.category: rule for rule in each},
        blocklists={blocklist.name: blocklist for blocklist in lists},
        fail_open=draw(st.booleans()),
    )


def enforced(rules: Rules, kind: Kind) -> bool:
    """Whether anything in *rules* can withhold a text of *kind*."""
    return any(rule.block and applies(category, kind) for category, rule in rules.categories.items()) or (
        kind is not Kind.IMAGE and any(blocklist.block for blocklist in rules.blocklists.values())
    )


# -------------------------------------------------------------------------------------------------------------- decide


@given(some_rules(), outcomes, kinds)
def test_decide_always_decides_and_agrees_with_its_annotations(rules: Rules, said: dict[str, Outcome], kind: Kind) -> None:
    decision = decide(rules, said, kind)
    acted = [annotation.filtered for annotation in decision.annotations.values()] + list(decision.blocklists.values())
    assert (decision.action is Action.FILTER) == any(acted)
    assert decision.action is not Action.FAIL or decision.error is not None
    assert set(decision.annotations) <= set(rules.categories)
    searched = {name for outcome in said.values() if isinstance(outcome, Verdict) for name in outcome.blocklists}
    assert set(decision.blocklists) <= set(rules.blocklists) | searched


@given(some_rules(), outcomes, kinds, st.permutations(NAMES))
def test_the_order_of_the_classifiers_does_not_matter(
    rules: Rules, said: dict[str, Outcome], kind: Kind, order: list[str]
) -> None:
    shuffled = {name: said[name] for name in order if name in said}
    assert decide(rules, shuffled, kind) == decide(rules, said, kind)


@given(some_rules(), outcomes, kinds, verdicts, harms, st.tuples(st.integers(0, 7), st.integers(0, 7)))
def test_raising_a_severity_never_releases_a_text(
    rules: Rules, said: dict[str, Outcome], kind: Kind, verdict: Verdict, harm: Category, severities: tuple[int, int]
) -> None:
    rules = replace(rules, categories={harm: Rule(harm), **rules.categories})

    def at(severity: int) -> Action:
        changed = replace(verdict, severities={**verdict.severities, harm: severity})
        return decide(rules, {**said, "a": changed}, kind).action

    assert STRICTNESS[at(max(severities))] >= STRICTNESS[at(min(severities))]


@given(some_rules(), outcomes, kinds, verdicts, categories)
def test_a_finding_never_releases_a_text(
    rules: Rules, said: dict[str, Outcome], kind: Kind, verdict: Verdict, category: Category
) -> None:
    rules = replace(rules, categories={category: Rule(category), **rules.categories})

    def when(detected: bool) -> Action:
        changed = replace(verdict, detections={**verdict.detections, category: detected})
        return decide(rules, {**said, "a": changed}, kind).action

    assert STRICTNESS[when(detected=True)] >= STRICTNESS[when(detected=False)]


@given(some_rules(), outcomes, kinds, harms)
def test_lowering_a_threshold_never_releases_more(
    rules: Rules, said: dict[str, Outcome], kind: Kind, harm: Category
) -> None:
    def at(threshold: int) -> Action:
        rule = replace(rules.categories.get(harm, Rule(harm)), threshold=threshold)
        return decide(replace(rules, categories={**rules.categories, harm: rule}), said, kind).action

    for lower, higher in pairwise(range(8)):
        assert STRICTNESS[at(lower)] >= STRICTNESS[at(higher)]


@given(some_rules(), outcomes, kinds, errors)
def test_an_error_in_addition_never_softens_a_decision(
    rules: Rules, said: dict[str, Outcome], kind: Kind, error: ClassifierError
) -> None:
    before = decide(rules, said, kind)
    after = decide(rules, {**said, "more": error}, kind)
    if before.action is Action.FILTER:
        assert after.action is Action.FILTER
    if before.action is Action.FAIL:
        assert after.action is Action.FAIL
    if before.action is Action.ALLOW:
        assert after.action in {Action.ALLOW, Action.FAIL}
    assert after.annotations == before.annotations


@given(some_rules(), outcomes, kinds, st.sampled_from(NAMES), errors)
def test_an_error_in_place_of_a_verdict_never_filters(
    rules: Rules, said: dict[str, Outcome], kind: Kind, name: str, error: ClassifierError
) -> None:
    """Harm comes from verdicts alone: what is unknown fails a text and is never reported as harmful."""
    assume(decide(rules, said, kind).action is not Action.FILTER)
    assert decide(rules, {**said, name: error}, kind).action is not Action.FILTER


@given(some_rules(), kinds, st.dictionaries(st.sampled_from(NAMES), st.just(Verdict()) | errors))
def test_no_verdict_at_all_is_never_allowed_in_silence(rules: Rules, kind: Kind, said: dict[str, Outcome]) -> None:
    assume(enforced(rules, kind))
    decision = decide(rules, said, kind)
    assert decision.action is not Action.FILTER
    assert decision.error is not None


@given(some_rules(), outcomes, kinds, errors, st.data())
def test_a_rule_that_fails_closed_is_never_passed_without_a_verdict(
    rules: Rules, said: dict[str, Outcome], kind: Kind, error: ClassifierError, data: st.DataObject
) -> None:
    open_to = [category for category in Category if applies(category, kind) and error.leaves_open(category)]
    assume(open_to)
    closed = Rule(data.draw(st.sampled_from(open_to)))
    rules = replace(rules, categories={**rules.categories, closed.category: closed})
    assert decide(rules, {**said, "more": error}, kind).action is not Action.ALLOW


@given(some_rules(), outcomes, kinds)
def test_annotating_rules_withhold_nothing_and_find_the_same(rules: Rules, said: dict[str, Outcome], kind: Kind) -> None:
    strict, lenient = decide(rules, said, kind), decide(annotating(rules), said, kind)
    assert lenient.action is Action.ALLOW
    assert (strict.error is None) == (lenient.error is None)
    assert set(lenient.blocklists) == set(strict.blocklists)
    assert lenient.annotations == {
        category: replace(annotation, filtered=False) for category, annotation in strict.annotations.items()
    }


@given(some_rules(), outcomes, kinds, categories)
def test_a_rule_in_addition_never_releases_a_text(
    rules: Rules, said: dict[str, Outcome], kind: Kind, category: Category
) -> None:
    assume(category not in rules.categories)
    more = replace(rules, categories={**rules.categories, category: Rule(category)})
    assert STRICTNESS[decide(more, said, kind).action] >= STRICTNESS[decide(rules, said, kind).action]


# ------------------------------------------------------------------------------------------------------------ strictest

annotated: st.SearchStrategy[Annotation] = st.builds(
    Annotation, filtered=st.booleans(), severity=st.none() | st.integers(0, 7), detected=st.none() | st.booleans()
)
decisions = st.just(ALLOWED) | st.builds(
    Decision,
    action=st.sampled_from(Action),
    annotations=st.dictionaries(categories, annotated, max_size=3),
    blocklists=st.dictionaries(st.sampled_from(LISTS), st.booleans()),
    error=st.none() | REASONS,
)


@given(st.lists(decisions, max_size=5), st.randoms(use_true_random=False), st.data())
def test_neither_order_nor_grouping_nor_repetition_matters(
    several: list[Decision],
    random: Random,
    data: st.DataObject,
) -> None:
    joined = strictest(several)
    shuffled = [*several, *several]
    random.shuffle(shuffled)
    assert strictest(shuffled) == joined
    cut = data.draw(st.integers(0, len(several)))
    assert strictest([strictest(several[:cut]), strictest(several[cut:])]) == joined


@given(decisions)
def test_what_was_allowed_for_want_of_text_adds_nothing(decision: Decision) -> None:
    equal = Decision(Action.ALLOW)
    for neutral in (ALLOWED, equal):
        assert strictest([decision, neutral]) == strictest([neutral, decision]) == strictest([decision]) == decision


@given(st.lists(decisions, min_size=1, max_size=5))
def test_nothing_is_softened_and_nothing_is_lost(several: list[Decision]) -> None:
    joined = strictest(several)
    assert STRICTNESS[joined.action] == max(STRICTNESS[each.action] for each in several)
    for each in several:
        assert strictest([joined, each]) == joined
        assert set(each.blocklists) <= set(joined.blocklists)
        assert (each.error is None) or joined.error is not None
        for category, annotation in each.annotations.items():
            mine = joined.annotations[category]
            assert mine.filtered >= annotation.filtered
            assert annotation.severity is None or (mine.severity is not None and mine.severity >= annotation.severity)
            assert annotation.detected is None or (mine.detected is not None and mine.detected >= annotation.detected)
