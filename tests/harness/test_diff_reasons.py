"""Claims about the reasons why two policies decide differently."""

from __future__ import annotations

from safety_proxy.harness.diff_reasons import NO_VERDICT, OTHER, Rulebook, Stance, reasons
from safety_proxy.harness.diff_rules import Change
from safety_proxy.harness.outcome import FoundCategory, FoundSide
from safety_proxy.model import Category

HATE, SEXUAL, JAILBREAK = Category.HATE, Category.SEXUAL, Category.JAILBREAK


def found(decision: str, *, hate: tuple[bool, int] | None = None, error: str | None = None, **lists: bool) -> FoundSide:
    categories = {} if hate is None else {HATE: FoundCategory(hate[0], hate[1])}
    return FoundSide(decision, categories, lists, error)


def words(one: FoundSide, other: FoundSide, rules: Rulebook) -> list[str]:
    return [each.words for each in reasons(one, other, rules)]


def rulebook(one: str = "medium", other: str = "medium", *changes: tuple[str, str]) -> Rulebook:
    return Rulebook(Stance({HATE: one}), Stance({HATE: other}), [Change(*each) for each in changes])


def test_a_severity_stands_beside_both_thresholds() -> None:
    one, other = found("filter", hate=(True, 4)), found("allow", hate=(False, 4))
    assert words(one, other, rulebook("medium", "high")) == ["hate 4: medium -> high"]


def test_both_severities_are_told_where_classifiers_disagree() -> None:
    rules = rulebook("medium", "medium", ("classifiers", "one -> two"))
    one, other = found("filter", hate=(True, 6)), found("allow", hate=(False, 2))
    assert words(one, other, rules) == ["hate 6 -> 2 at medium; classifiers: one -> two"]


def test_what_one_of_them_says_nothing_of_was_not_judged() -> None:
    rules = Rulebook(Stance({HATE: "medium"}), Stance())
    assert words(found("filter", hate=(True, 4)), found("allow"), rules) == ["hate 4: medium -> not judged"]


def test_a_detection_has_no_severity() -> None:
    one = FoundSide("filter", {JAILBREAK: FoundCategory(filtered=True, detected=True)})
    other = FoundSide("allow", {JAILBREAK: FoundCategory(filtered=False, detected=True)})
    rules = Rulebook(Stance({JAILBREAK: "block"}), Stance({JAILBREAK: "annotate"}))
    assert words(one, other, rules) == ["jailbreak: block -> annotate"]


def test_keys_of_other_categories_are_no_reason() -> None:
    rules = rulebook("low", "low", ("input.hate.combine", "any -> all"), ("input.sexual.combine", "any -> all"))
    one, other = found("filter", hate=(True, 2)), found("allow", hate=(False, 1))
    assert words(one, other, rules) == ["hate 2 -> 1 at low; input.hate.combine: any -> all"]


def test_a_list_with_other_entries_is_told_by_their_number() -> None:
    lists = Stance(blocklists={"house": "block"})
    rules = Rulebook(lists, lists, [Change("input.blocklists.house.terms", "1 removed"), Change("classifiers", "a -> b")])
    assert words(found("filter", house=True), found("allow"), rules) == [
        "blocklist house; input.blocklists.house.terms: 1 removed"
    ]


def test_a_list_that_both_filter_by_is_no_reason() -> None:
    one, other = found("filter", hate=(True, 4), house=True), found("error", hate=(False, 4), house=True)
    assert "blocklist house" not in [each.group for each in reasons(one, other, rulebook("medium", "high"))]


def test_a_list_of_a_classifier_leads_to_the_classifiers() -> None:
    rules = Rulebook(Stance(), Stance(), [Change("classifiers", "a -> b")])
    assert words(found("filter", house=True), found("allow"), rules) == ["blocklist house; classifiers: a -> b"]


def test_a_missing_verdict_is_told_with_the_categories_that_need_one() -> None:
    rules = Rulebook(Stance(needed=frozenset({HATE, SEXUAL})), Stance(needed=frozenset({SEXUAL})))
    one, other = found("error", error="timeout"), found("allow", error="timeout")
    assert words(one, other, rules) == ["no verdict (timeout): hate needed -> not needed"]
    assert words(other, one, Rulebook(rules.other, rules.one)) == ["no verdict (timeout): hate not needed -> needed"]


def test_a_missing_verdict_that_both_need_leads_to_the_keys_that_differ() -> None:
    rules = rulebook("medium", "medium", ("classifiers", "a -> b"), ("input.history", "block -> annotate"))
    assert words(found("error"), found("allow"), rules) == ["no verdict; classifiers: a -> b"]


def test_a_harm_and_a_missing_verdict_are_both_told() -> None:
    one, other = found("filter", hate=(True, 4)), found("error", hate=(False, 4), error="timeout")
    assert [each.group for each in reasons(one, other, rulebook("medium", "high"))] == ["hate", NO_VERDICT]


def test_a_request_that_cannot_be_judged_has_no_other_reason() -> None:
    one, other = found("filter", hate=(True, 4)), found("prompt_too_long")
    rules = rulebook("medium", "off", ("input.roles", "user -> user, tool"))
    (reason,) = reasons(one, other, rules)
    assert (reason.group, reason.words) == ("prompt too long", "prompt too long; input.roles: user -> user, tool")


def test_there_is_always_a_reason() -> None:
    (reason,) = reasons(found("filter"), found("allow"), rulebook())
    assert (reason.group, reason.words) == (OTHER, "for no reason that is known")
