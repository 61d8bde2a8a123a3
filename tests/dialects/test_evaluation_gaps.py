"""What was not evaluated is told with its reason; what was evaluated is not in the list."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest

from safety_proxy.dialects.evaluation_gaps import missed_classifiers, missed_fields, missed_rules, missed_text
from safety_proxy.errors import ClassifierError
from safety_proxy.events import Chunk, Segment
from safety_proxy.model import ALLOWED, HARMS, Category, Kind, PromptText, Query, Verdict
from safety_proxy.moderation import Judged
from safety_proxy.policy import InputRules, Rules
from safety_proxy.rule import Outcome, Rule
from tests.pictures import looked_at

SAFE = Verdict(dict.fromkeys(HARMS, 0), {Category.JAILBREAK: False})
HATE = Rules(categories={Category.HATE: Rule(Category.HATE)}, classifiers=("a",))


def judged(kind: Kind = Kind.USER_PROMPT, outcomes: Mapping[str, Outcome] | None = None, *unasked: str) -> Judged:
    return Judged(Query("text", kind), ALLOWED, {"a": SAFE} if outcomes is None else outcomes, frozenset(unasked))


def window(channel: str, start: int, length: int) -> Judged:
    return Judged(Query("x" * length, Kind.COMPLETION, channel=channel, offset=start), ALLOWED, {})


def reasons(stage: str, rules: Rules, texts: Sequence[Judged], what: str = "category") -> dict[object, list[object]]:
    missed = missed_rules if what == "category" else missed_classifiers
    found: dict[object, list[object]] = {}
    for gap in missed(stage, [rules], texts):
        assert (gap["stage"], gap["what"]) == (stage, what)
        found.setdefault(gap["name"], []).append(gap["reason"])
    return found


def test_a_category_without_a_rule_is_off_where_it_could_have_one() -> None:
    on_input = reasons("input", HATE, [judged()])
    on_output = reasons("output", HATE, [judged(Kind.COMPLETION)])

    assert [*on_input] == ["sexual", "violence", "self_harm", "jailbreak", "indirect_attack"]
    assert [*on_output] == ["sexual", "violence", "self_harm", "protected_material_text", "protected_material_code"]
    assert all(each == ["off"] for each in (*on_input.values(), *on_output.values()))


def test_a_rule_that_no_text_was_for_is_not_applicable() -> None:
    rules = Rules(categories={category: Rule(category) for category in (*HARMS, Category.JAILBREAK)})

    assert reasons("input", rules, [judged(Kind.MESSAGE)])["jailbreak"] == ["not_applicable"]
    assert "jailbreak" not in reasons("input", rules, [judged(Kind.USER_PROMPT)])
    assert reasons("input", HATE, [])["hate"] == ["not_applicable"]


@pytest.mark.parametrize(
    ("outcome", "reason"),
    [
        (ClassifierError("timeout"), "timeout"),
        (Verdict(failures={Category.HATE: "invalid_answer"}), "invalid_answer"),
        (Verdict({Category.HATE: 6}, failures={Category.HATE: "invalid_answer"}), "invalid_answer"),
        (Verdict(), "missing_category"),
    ],
)
def test_a_verdict_that_is_missing_on_some_text_is_told_with_its_reason(outcome: Outcome, reason: str) -> None:
    assert reasons("input", HATE, [judged(), judged(outcomes={"a": outcome})])["hate"] == [reason]


def test_a_classifier_that_failed_was_spared_or_was_not_asked_is_told() -> None:
    rules = Rules(categories={}, classifiers=("a", "b", "c", "d"))
    texts = [judged(outcomes={"a": ClassifierError("timeout"), "b": SAFE}), judged(Kind.USER_PROMPT, {"a": SAFE}, "c")]

    assert reasons("input", rules, texts, "classifier") == {"a": ["timeout"], "c": ["spared"], "d": ["not_applicable"]}


def test_a_classifier_that_reads_no_images_was_not_asked_about_one() -> None:
    image = Judged(looked_at("a cat"), ALLOWED, {"a": Verdict()})

    assert reasons("input", HATE, [image], "classifier") == {"a": ["not_applicable"]}
    assert reasons("input", HATE, [image, judged()], "classifier") == {}


def test_a_blocklist_of_the_store_that_could_not_be_searched_is_told_under_its_classifiers_name() -> None:
    texts = [judged(outcomes={"a": SAFE, "stored blocklists of one": ClassifierError("store_unavailable")})]

    assert reasons("input", HATE, texts, "classifier") == {"stored blocklists of one": ["store_unavailable"]}


def test_fields_that_passed_unread_are_told_once() -> None:
    rules = InputRules(categories={}, roles=frozenset({"user"}))
    system = PromptText(Query("text", Kind.MESSAGE), "system", "messages[0].content")
    image = PromptText(looked_at("a cat"), "user", "messages[1].content[0]")

    assert [
        (gap["what"], gap["name"], gap["reason"]) for gap in missed_fields([rules], [system, image, system], ["sound"])
    ] == [
        ("field", "sound", "unreadable"),
        ("field", "messages[0].content", "role"),
        ("field", "messages[1].content[0]", "unreadable"),
    ]


@pytest.mark.parametrize(
    ("windows", "gaps"),
    [
        ([], [("content", 0, 10), ("refusal", 0, 5)]),
        ([window("content", 0, 4), window("content", 2, 4)], [("content", 6, 10), ("refusal", 0, 5)]),
        ([window("content", 6, 4), window("content", 0, 4), window("refusal", 0, 5)], [("content", 4, 6)]),
        ([window("content", 0, 10), window("refusal", 0, 5)], []),
        ([window("content", 0, 10), window("content", 2, 3), window("refusal", 0, 5)], []),
    ],
)
def test_text_of_a_choice_that_was_in_no_window_is_told(windows: list[Judged], gaps: list[tuple[str, int, int]]) -> None:
    said = Chunk(0, {}, (Segment("content", "x" * 4), Segment("refusal", "x" * 5), Segment("content", "x" * 6)))
    strings = Judged(Query("text of a field", Kind.COMPLETION), ALLOWED, {})

    found = [*missed_text(3, said, [*windows, strings])]
    assert [(gap["name"], gap["start"], gap["end"]) for gap in found] == gaps
    assert {(gap["stage"], gap["what"], gap["reason"], gap["choice"]) for gap in found} <= {("output", "field", "ended", 3)}
