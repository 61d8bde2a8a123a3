from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest

from safety_proxy.documents import Document, parse
from safety_proxy.errors import ClassifierError, ConfigError
from safety_proxy.model import ALLOWED, HARMS, Action, Annotation, Category, Decision, Kind, PromptText, Query, Verdict
from safety_proxy.policy import ROLES, Blocklist, InputRules, OutputRules, Policy, Rules, annotating, decide, strictest
from safety_proxy.rule import Outcome, Rule, applies

HATE, VIOLENCE, JAILBREAK, INDIRECT = Category.HATE, Category.VIOLENCE, Category.JAILBREAK, Category.INDIRECT_ATTACK


def rules(*each: Rule, blocklists: tuple[Blocklist, ...] = (), fail_open: bool = False) -> Rules:
    return Rules(
        categories={rule.category: rule for rule in each},
        blocklists={blocklist.name: blocklist for blocklist in blocklists},
        fail_open=fail_open,
    )


def hate(severity: int) -> Verdict:
    return Verdict({HATE: severity})


def decided(each: Rules, kind: Kind = Kind.COMPLETION, **outcomes: Outcome) -> Decision:
    return decide(each, outcomes, kind)


BLOCK_HATE = rules(Rule(HATE, threshold=4))


# ---------------------------------------------------------------------------------------------------------- categories


@pytest.mark.parametrize(
    ("category", "kinds"),
    [
        *((harm, set(Kind)) for harm in sorted(HARMS)),
        (Category.JAILBREAK, {Kind.USER_PROMPT}),
        (Category.INDIRECT_ATTACK, {Kind.DOCUMENT}),
        (Category.PROTECTED_MATERIAL_TEXT, {Kind.COMPLETION}),
        (Category.PROTECTED_MATERIAL_CODE, {Kind.COMPLETION}),
    ],
)
def test_a_category_is_looked_for_where_it_can_occur(category: Category, kinds: set[Kind]) -> None:
    assert {kind for kind in Kind if applies(category, kind)} == kinds


@pytest.mark.parametrize(("threshold", "lowest"), [(2, 2), (4, 4), (6, 6)])
def test_a_severity_is_filtered_from_its_threshold_on(threshold: int, lowest: int) -> None:
    each = rules(Rule(HATE, threshold=threshold))
    assert [severity for severity in range(8) if decided(each, a=hate(severity)).action is Action.FILTER] == [
        *range(lowest, 8)
    ]


def test_a_filtered_harm_is_annotated_as_filtered_and_the_others_as_not() -> None:
    each = rules(Rule(HATE), Rule(VIOLENCE, threshold=6))
    assert decided(each, a=Verdict({HATE: 5, VIOLENCE: 5})) == Decision(
        Action.FILTER, {HATE: Annotation(True, severity=5), VIOLENCE: Annotation(False, severity=5)}
    )


def test_a_finding_is_filtered_where_its_rule_blocks() -> None:
    each = rules(Rule(JAILBREAK))
    assert decided(each, Kind.USER_PROMPT, a=Verdict(detections={JAILBREAK: True})) == Decision(
        Action.FILTER, {JAILBREAK: Annotation(True, detected=True)}
    )
    assert decided(each, Kind.USER_PROMPT, a=Verdict(detections={JAILBREAK: False})) == Decision(
        Action.ALLOW, {JAILBREAK: Annotation(False, detected=False)}
    )


def test_rules_that_only_annotate_filter_nothing() -> None:
    each = rules(Rule(HATE, block=False), Rule(JAILBREAK, block=False))
    verdict = Verdict({HATE: 7}, {JAILBREAK: True})
    assert decided(each, Kind.USER_PROMPT, a=verdict) == Decision(
        Action.ALLOW, {HATE: Annotation(False, severity=7), JAILBREAK: Annotation(False, detected=True)}
    )


def test_what_has_no_rule_is_not_mentioned() -> None:
    verdict = Verdict({HATE: 0, VIOLENCE: 7}, {JAILBREAK: True}, {"other": False}, failures={VIOLENCE: "timeout"})
    assert decided(BLOCK_HATE, a=verdict) == Decision(Action.ALLOW, {HATE: Annotation(False, severity=0)})


def test_a_rule_does_not_concern_texts_of_another_kind() -> None:
    each = rules(Rule(HATE), Rule(JAILBREAK), Rule(INDIRECT))
    assert decided(each, Kind.MESSAGE, a=hate(0)) == Decision(Action.ALLOW, {HATE: Annotation(False, severity=0)})


def test_without_rules_there_is_nothing_to_decide() -> None:
    assert decided(rules(), a=ClassifierError("timeout")) == ALLOWED


# ------------------------------------------------------------------------------------------------ several, and failures


def test_the_most_severe_of_several_verdicts_counts() -> None:
    each = rules(Rule(HATE), Rule(JAILBREAK))
    outcomes = {
        "a": Verdict({HATE: 1}, {JAILBREAK: True}),
        "b": Verdict({HATE: 6}, {JAILBREAK: False}),
        "c": Verdict({HATE: 3}),
    }
    assert decide(each, outcomes, Kind.USER_PROMPT) == Decision(
        Action.FILTER, {HATE: Annotation(True, severity=6), JAILBREAK: Annotation(True, detected=True)}
    )


def test_only_the_classifiers_that_the_rule_names_count() -> None:
    each = rules(Rule(HATE, classifiers=("a",)))
    assert decided(each, a=hate(0), b=hate(7), c=ClassifierError("timeout")) == Decision(
        Action.ALLOW, {HATE: Annotation(False, severity=0)}
    )
    assert decided(each, b=hate(0)).error == "missing_category"


def test_harm_beats_failure() -> None:
    assert decided(BLOCK_HATE, a=hate(6), b=ClassifierError("timeout")) == Decision(
        Action.FILTER, {HATE: Annotation(True, severity=6)}, error="timeout"
    )


def test_failure_beats_safe() -> None:
    assert decided(BLOCK_HATE, a=hate(0), b=ClassifierError("timeout")) == Decision(
        Action.FAIL, {HATE: Annotation(False, severity=0)}, error="timeout"
    )


def test_an_error_fails_only_the_categories_that_it_leaves_open() -> None:
    error = ClassifierError("rejected", categories=[VIOLENCE])
    assert decided(BLOCK_HATE, a=hate(0), b=error).action is Action.ALLOW
    assert decided(rules(Rule(HATE), Rule(VIOLENCE)), a=hate(0), b=error) == Decision(
        Action.FAIL, {HATE: Annotation(False, severity=0)}, error="rejected"
    )


def test_a_failure_inside_a_verdict_fails_its_category() -> None:
    verdict = Verdict({HATE: 0}, failures={VIOLENCE: "rate_limited"})
    assert decided(BLOCK_HATE, a=verdict).action is Action.ALLOW
    assert decided(rules(Rule(HATE), Rule(VIOLENCE)), a=verdict).error == "rate_limited"
    assert decided(rules(Rule(VIOLENCE)), a=verdict, b=Verdict({VIOLENCE: 0})).action is Action.FAIL


@pytest.mark.parametrize(
    "outcomes",
    [
        {},
        {"a": Verdict()},
        {"a": Verdict({VIOLENCE: 0})},
        {"a": Verdict(detections={HATE: False})},
    ],
)
def test_a_missing_category_is_no_zero(outcomes: Mapping[str, Outcome]) -> None:
    assert decide(BLOCK_HATE, outcomes, Kind.COMPLETION) == Decision(Action.FAIL, error="missing_category")


def test_a_severity_does_not_stand_for_a_finding() -> None:
    verdict = Verdict({JAILBREAK: 0})
    assert decided(rules(Rule(JAILBREAK)), Kind.USER_PROMPT, a=verdict).error == "missing_category"


def test_fail_open_lets_pass_what_nobody_judged_and_says_so() -> None:
    each = rules(Rule(HATE, fail_open=True))
    assert decided(each, a=ClassifierError("timeout")) == Decision(Action.ALLOW, error="timeout")
    assert decided(each, a=hate(0), b=ClassifierError("timeout")).action is Action.ALLOW


def test_fail_open_lets_no_harm_pass() -> None:
    each = rules(Rule(HATE, fail_open=True))
    assert decided(each, a=hate(4), b=ClassifierError("timeout")).action is Action.FILTER


def test_failing_open_is_up_to_each_category() -> None:
    each = rules(Rule(HATE, fail_open=True), Rule(VIOLENCE))
    assert decided(each, a=ClassifierError("timeout", categories=[HATE]), b=Verdict({VIOLENCE: 0})).action is Action.ALLOW
    assert decided(each, a=ClassifierError("timeout", categories=[VIOLENCE]), b=hate(0)).action is Action.FAIL


def test_where_nothing_is_enforced_a_failure_does_not_withhold_the_text() -> None:
    assert decided(rules(Rule(HATE, block=False)), a=ClassifierError("timeout")) == Decision(Action.ALLOW, error="timeout")


def test_a_failure_that_counts_gives_its_reason_before_one_that_was_tolerated() -> None:
    each = rules(Rule(HATE, fail_open=True), Rule(VIOLENCE))
    outcomes = {"a": ClassifierError("internal", categories=[HATE]), "b": ClassifierError("timeout", categories=[VIOLENCE])}
    assert decide(each, outcomes, Kind.COMPLETION).error == "timeout"


# ---------------------------------------------------------------------------------------------------------- blocklists


BLOCKING, TELLING = Blocklist("brands", terms=("acme",)), Blocklist("rivals", terms=("other",), block=False)


def test_a_blocklist_filters_or_annotates() -> None:
    each = rules(blocklists=(BLOCKING, TELLING))
    searched = {"brands": True, "rivals": True}
    assert decided(each, a=Verdict(blocklists=searched)) == Decision(
        Action.FILTER, blocklists={"brands": True, "rivals": False}
    )
    assert decided(each, a=Verdict(blocklists=searched | {"brands": False})) == Decision(
        Action.ALLOW, blocklists={"rivals": False}
    )
    assert decided(each, a=Verdict(blocklists={"brands": False, "rivals": False})) == ALLOWED


def test_a_blocklist_matches_if_anybody_found_it() -> None:
    each = rules(blocklists=(BLOCKING,))
    found, missed = Verdict(blocklists={"brands": True}), Verdict(blocklists={"brands": False})
    assert decided(each, a=missed, b=found).action is decided(each, a=found, b=missed).action is Action.FILTER


def test_a_blocklist_that_nobody_searched_fails_the_text() -> None:
    each = rules(blocklists=(BLOCKING,))
    assert decided(each, a=Verdict()) == Decision(Action.FAIL, error="missing_category")
    assert decided(each, a=ClassifierError("internal")) == Decision(Action.FAIL, error="internal")
    assert decided(each, a=ClassifierError("internal", categories=[])) == Decision(Action.FAIL, error="internal")
    assert decided(each, a=ClassifierError("internal", categories=[HATE])).error == "missing_category"
    assert decided(each, a=ClassifierError("internal"), b=Verdict(blocklists={"brands": False})) == ALLOWED


def test_a_blocklist_fails_open_with_its_side_or_where_it_only_annotates() -> None:
    unsearched = {"a": Verdict()}
    for each in (rules(blocklists=(BLOCKING,), fail_open=True), rules(blocklists=(TELLING,))):
        assert decide(each, unsearched, Kind.MESSAGE) == Decision(Action.ALLOW, error="missing_category")


# ------------------------------------------------------------------------------------------------------------ strictest


def test_the_strictest_of_several_decisions_keeps_all_that_was_found() -> None:
    assert strictest(
        [
            Decision(Action.ALLOW, {HATE: Annotation(False, severity=3)}, {"rivals": False}),
            Decision(Action.FAIL, {HATE: Annotation(False, severity=2)}, error="timeout"),
            Decision(Action.FILTER, {JAILBREAK: Annotation(True, detected=True)}, {"brands": True, "rivals": True}),
            Decision(Action.ALLOW, {JAILBREAK: Annotation(False, detected=False)}, {"brands": False}, error="internal"),
        ]
    ) == Decision(
        Action.FILTER,
        {HATE: Annotation(False, severity=3), JAILBREAK: Annotation(True, detected=True)},
        {"brands": True, "rivals": True},
        error="internal",
    )


def test_failure_is_stricter_than_allowing() -> None:
    assert strictest([ALLOWED, Decision(Action.FAIL, error="timeout"), ALLOWED]) == Decision(Action.FAIL, error="timeout")


def test_no_decision_at_all_allows() -> None:
    assert strictest([]) == ALLOWED


# ---------------------------------------------------------------------------------------------------------- input rules


def prompt_text(role: str, *, history: bool = False) -> PromptText:
    return PromptText(Query("hello", Kind.MESSAGE), role, "messages[0].content", history=history)


def test_texts_of_roles_that_the_policy_leaves_out_are_not_judged() -> None:
    each = InputRules(categories={HATE: Rule(HATE)}, roles=frozenset({"user"}))
    assert each.of(prompt_text("user")) is each
    assert [role for role in ROLES if each.of(prompt_text(role)) is None] == ["system", "developer", "assistant", "tool"]


def test_an_unknown_role_is_no_pass() -> None:
    each = InputRules(categories={HATE: Rule(HATE)}, roles=frozenset({"user"}))
    assert each.of(prompt_text("moderator")) is each


def test_history_is_judged_by_the_same_rules_unless_it_is_only_annotated() -> None:
    each = InputRules(categories={HATE: Rule(HATE)})
    assert each.of(prompt_text("user", history=True)) is each


def test_annotated_history_neither_filters_nor_fails() -> None:
    each = InputRules(categories={HATE: Rule(HATE)}, blocklists={"brands": BLOCKING}, history="annotate")
    of_history = each.of(prompt_text("user", history=True))
    assert of_history == annotating(each)
    found = Verdict({HATE: 7}, blocklists={"brands": True})
    assert decide(of_history, {"a": found}, Kind.MESSAGE) == Decision(
        Action.ALLOW, {HATE: Annotation(False, severity=7)}, {"brands": False}
    )
    assert decide(of_history, {"a": ClassifierError("timeout")}, Kind.MESSAGE) == Decision(Action.ALLOW, error="timeout")
    assert each.of(prompt_text("user")) is each


# -------------------------------------------------------------------------------------------------------------- policy

FILE = parse("version: 1\nname: x\nclassifiers:\n  - a\n  - b\ninput:\n  jailbreak: {action: block}\n", "p.yaml")


def policy(of_input: Mapping[Category, Rule], of_output: Mapping[Category, Rule], document: Document = FILE) -> Policy:
    return Policy(
        name="x",
        description="",
        classifiers=("a", "b"),
        input=InputRules(categories=of_input),
        output=OutputRules(categories=of_output),
        annotations=True,
        identity="x@0",
        filled={"name": "x", "classifiers": ["a", "b"]},
        document=document,
    )


def reporting(*categories: Category, kinds: frozenset[Kind] = frozenset(Kind)) -> Callable[[Kind], frozenset[Category]]:
    return lambda kind: frozenset(categories) if kind in kinds else frozenset()


def test_the_document_of_a_policy_can_be_changed_without_changing_the_policy() -> None:
    each = policy({}, {})
    document = each.to_document()
    assert isinstance(document["classifiers"], list)
    document["classifiers"].append("c")
    assert each.to_document() == {"name": "x", "classifiers": ["a", "b"]}


def test_a_policy_whose_categories_are_all_reported_can_be_enforced() -> None:
    each = policy({HATE: Rule(HATE), JAILBREAK: Rule(JAILBREAK)}, {HATE: Rule(HATE)})
    each.require({"a": reporting(HATE), "b": reporting(JAILBREAK, kinds=frozenset({Kind.USER_PROMPT})), "c": reporting()})


def test_a_classifier_that_is_not_configured_is_an_error_at_its_line() -> None:
    with pytest.raises(ConfigError) as caught:
        policy({}, {}).require({"a": reporting(), "bb": reporting()})
    assert str(caught.value) == ("p.yaml:5: classifiers[1]: no classifier named `b` is configured; did you mean `bb`?")
    with pytest.raises(ConfigError, match=r"configured are: a, zzz$"):
        policy({}, {}).require({"zzz": reporting(), "a": reporting()})
    with pytest.raises(ConfigError, match=r"configured are: none$"):
        policy({}, {}).require({})


def test_a_category_that_nobody_reports_is_an_error_at_its_line() -> None:
    each = policy({JAILBREAK: Rule(JAILBREAK)}, {})
    with pytest.raises(ConfigError) as caught:
        each.require({"a": reporting(HATE), "b": reporting(INDIRECT)})
    assert str(caught.value) == (
        "p.yaml:7: input.jailbreak: cannot be enforced: of the classifiers that count for it (a, b) none reports it for "
        "user prompt texts; name one that does, or write `jailbreak: off`"
    )


def test_a_category_must_be_reported_by_a_classifier_that_counts_for_it() -> None:
    each = policy({}, {HATE: Rule(HATE, classifiers=("b",))})
    with pytest.raises(ConfigError, match=r"p\.yaml:1: output\.hate: .* \(b\) none reports it for completion texts"):
        each.require({"a": reporting(HATE), "b": reporting()})
    each.require({"a": reporting(), "b": reporting(HATE)})


@pytest.mark.parametrize("blind", [Kind.USER_PROMPT, Kind.DOCUMENT, Kind.MESSAGE])
def test_a_harm_must_be_reported_for_every_kind_of_text_in_a_prompt(blind: Kind) -> None:
    each = policy({HATE: Rule(HATE)}, {})
    partly = reporting(HATE, kinds=frozenset(Kind) - {blind})
    with pytest.raises(ConfigError, match=f"none reports it for {blind.value.replace('_', ' ')} texts"):
        each.require({"a": partly, "b": reporting()})
    each.require({"a": partly, "b": reporting(HATE, kinds=frozenset({blind}))})


def test_a_list_of_a_classifiers_own_filters_when_it_matches() -> None:
    rules = Rules(categories={})
    said = {"lists": Verdict(blocklists={"house": True, "other": False})}

    decision = decide(rules, said, Kind.COMPLETION)
    assert (decision.action, decision.blocklists) == (Action.FILTER, {"house": True})
    annotated = decide(annotating(rules), said, Kind.COMPLETION)
    assert (annotated.action, annotated.blocklists) == (Action.ALLOW, {"house": False})


def test_a_list_is_not_searched_for_in_an_image_but_a_match_counts() -> None:
    rules = Rules(categories={HATE: Rule(HATE)}, blocklists={"house": Blocklist("house", ("x",))})

    assert decide(rules, {"a": Verdict({HATE: 0})}, Kind.MESSAGE).action is Action.FAIL
    assert decide(rules, {"a": Verdict({HATE: 0})}, Kind.IMAGE).action is Action.ALLOW
    assert decide(rules, {"a": Verdict({HATE: 0}, blocklists={"house": True})}, Kind.IMAGE).action is Action.FILTER
    assert decide(rules, {"a": Verdict()}, Kind.IMAGE).error == "missing_category"
