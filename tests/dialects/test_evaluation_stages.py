"""A stage of an evaluation: what was found of each category, beside what the policy filters of it."""

from __future__ import annotations

from safety_proxy.dialects.evaluation_stages import InputStage, JudgedChoice, OutputStage
from safety_proxy.documents import parse
from safety_proxy.events import Chunk, Segment
from safety_proxy.jsontext import as_object
from safety_proxy.model import ALLOWED, JSON, Action, Annotation, Category, Decision, Kind, PromptText, Query
from safety_proxy.moderation import Judged
from safety_proxy.policy import Policy
from safety_proxy.policy_file import load


def policy(rest: str, name: str = "one") -> Policy:
    return load(parse(f"version: 1\nname: {name}\nclassifiers: [a]\n{rest}\n", "policy.yaml"))


def window(channel: str, start: int) -> Judged:
    return Judged(Query("text", Kind.COMPLETION, channel=channel, offset=start if channel else None), ALLOWED, {})


DECISION = Decision(
    Action.FILTER,
    {
        Category.JAILBREAK: Annotation(filtered=True, detected=True),
        Category.INDIRECT_ATTACK: Annotation(filtered=False, detected=True),
        Category.VIOLENCE: Annotation(filtered=True, severity=5),
        Category.HATE: Annotation(filtered=False, severity=7),
    },
    {"house": True, "brands": False},
    "timeout",
)


def test_a_category_is_told_with_what_the_policy_filters_of_it() -> None:
    told = InputStage(DECISION, ()).tell([policy("input: {hate: {block_at: never}, violence: {block_at: low}}")])

    assert told == {
        "decision": "block",
        "categories": {
            "hate": {"filtered": False, "severity": 7, "label": "high", "threshold": "never"},
            "violence": {"filtered": True, "severity": 5, "label": "medium", "threshold": "low"},
            "jailbreak": {"filtered": True, "detected": True, "action": "block"},
            "indirect_attack": {"filtered": False, "detected": True, "action": "annotate"},
        },
        "blocklists": {"house": {"filtered": True}, "brands": {"filtered": False}},
        "error": "timeout",
        "texts": [],
    }


def test_of_several_policies_the_lowest_threshold_is_told() -> None:
    policies = [policy("input: {violence: {block_at: high}}"), policy("input: {violence: {block_at: low}}", "two")]
    told = InputStage(DECISION, ()).tell(policies)

    assert as_object(as_object(told["categories"])["violence"])["threshold"] == "low"


def test_the_two_sides_have_rules_of_their_own() -> None:
    rules = policy("input: {violence: {block_at: low}}\noutput: {violence: {block_at: high}}")
    told = OutputStage([JudgedChoice(Chunk(0, {}), DECISION, ())]).tell([rules])

    assert as_object(as_object(told["categories"])["violence"])["threshold"] == "high"


def test_every_text_and_every_field_that_passed_is_told() -> None:
    query = Query("text", Kind.USER_PROMPT, offset=0)
    text = PromptText(query, "user", "text")
    system = PromptText(Query("rules", Kind.MESSAGE), "system", "messages[0].content")
    stage = InputStage(ALLOWED, [Judged(query, ALLOWED, {}, text=text)], [system], ["sound"])
    rules = policy("input: {roles: [user]}")

    assert len(_list(stage.tell([rules])["texts"])) == 1
    assert [(gap["name"], gap["reason"]) for gap in map(as_object, stage.missed([rules])) if gap["what"] == "field"] == [
        ("sound", "unreadable"),
        ("messages[0].content", "role"),
    ]


def test_each_choice_has_a_decision_and_a_finish_reason() -> None:
    stage = OutputStage(
        [
            JudgedChoice(Chunk(0, {}), ALLOWED, ()),
            JudgedChoice(Chunk(0, {}), DECISION, ()),
            JudgedChoice(Chunk(0, {}), Decision(Action.FAIL, error="timeout"), ()),
        ]
    )
    told = stage.tell([policy("")])

    assert [
        (each["index"], each["decision"], each["finish_reason"], each["error"])
        for each in map(as_object, _list(told["choices"]))
    ] == [
        (0, "allow", None, None),
        (1, "block", "content_filter", "timeout"),
        (2, "error", "content_filter_error", "timeout"),
    ]
    assert told["decision"] == "block"


def test_texts_stand_choice_by_choice_and_channel_by_channel() -> None:
    said = Chunk(0, {}, (Segment("reasoning", "x"), Segment("content", "x")))
    mixed = [window("", 0), window("content", 80), window("reasoning", 0), window("content", 0)]
    told = OutputStage([JudgedChoice(said, ALLOWED, mixed), JudgedChoice(said, ALLOWED, mixed[:1])]).tell([policy("")])

    assert [(each["choice"], each["channel"], each["start"]) for each in map(as_object, _list(told["texts"]))] == [
        (0, "reasoning", 0),
        (0, "content", 0),
        (0, "content", 80),
        (0, None, None),
        (1, None, None),
    ]


def test_what_was_not_judged_of_a_completion_is_told() -> None:
    said = Chunk(0, {}, (Segment("content", "longer text"),))
    missed = OutputStage([JudgedChoice(said, ALLOWED, [window("content", 0)])]).missed([policy("")])

    (gap,) = (gap for gap in map(as_object, missed) if gap["what"] == "field")
    assert (gap["stage"], gap["name"], gap["reason"]) == ("output", "content", "ended")
    assert (gap["choice"], gap["start"], gap["end"]) == (0, 4, 11)


def _list(value: JSON) -> list[JSON]:
    assert isinstance(value, list)
    return value
