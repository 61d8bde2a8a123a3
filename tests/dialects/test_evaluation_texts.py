"""Judged texts as an evaluation tells them: by their place, never by their words."""

from __future__ import annotations

from safety_proxy.dialects.evaluation_texts import heard, input_text, output_text
from safety_proxy.errors import ClassifierError
from safety_proxy.jsontext import as_object
from safety_proxy.model import ALLOWED, JSON, Action, Category, Decision, Kind, PromptText, Query, Span, Verdict
from safety_proxy.moderation import Judged
from tests.pictures import looked_at

FOUND = Verdict(
    {Category.VIOLENCE: 6, Category.HATE: 0},
    {Category.JAILBREAK: False},
    {"house": True},
    (Span(4, 8, "house", 0.5), Span(0, 4, "violence", 1.0)),
    {Category.SEXUAL: "missing_category"},
    {"toxicity": 0.12345678},
)


def test_a_text_of_a_prompt_is_told_by_its_field() -> None:
    query = Query("kill them", Kind.USER_PROMPT, offset=0)
    text = PromptText(query, "user", "messages[0].content")
    judged = Judged(query, Decision(Action.FILTER), {"a": FOUND, "b": ClassifierError("timeout")}, text=text)

    assert input_text(judged) == {
        "field": "messages[0].content",
        "role": "user",
        "start": 0,
        "end": 9,
        "kind": "user_prompt",
        "decision": "block",
        "spans": [
            {"start": 0, "end": 4, "label": "violence", "classifier": "a", "weight": 1.0},
            {"start": 4, "end": 8, "label": "house", "classifier": "a", "weight": 0.5},
        ],
        "verdicts": {
            "a": {
                "severities": {"hate": 0, "violence": 6},
                "detections": {"jailbreak": False},
                "scores": {"toxicity": 0.123457},
                "blocklists": {"house": True},
                "failures": {"sexual": "missing_category"},
            },
            "b": {"error": "timeout"},
        },
    }


def test_a_part_of_a_completion_is_told_by_choice_and_channel_and_spans_count_in_the_channel() -> None:
    judged = Judged(Query("kill them", Kind.COMPLETION, channel="content", offset=100), ALLOWED, {"a": FOUND})
    told = output_text(judged, 2)

    assert {key: told[key] for key in ("choice", "channel", "start", "end")} == {
        "choice": 2,
        "channel": "content",
        "start": 100,
        "end": 109,
    }
    assert [(as_object(span)["start"], as_object(span)["end"]) for span in _list(told["spans"])] == [(100, 104), (104, 108)]


def test_a_text_without_a_place_says_so_and_its_spans_count_in_itself() -> None:
    told = output_text(Judged(Query("kill them", Kind.COMPLETION), ALLOWED, {"a": FOUND}), 0)

    assert (told["channel"], told["start"], told["end"]) == (None, None, None)
    assert [as_object(span)["start"] for span in _list(told["spans"])] == [0, 4]


def test_who_reads_no_images_said_nothing_of_one() -> None:
    asked = Judged(looked_at("a cat"), ALLOWED, {"blind": Verdict(), "seeing": Verdict({Category.HATE: 0})})

    assert [*heard(asked)] == ["seeing"]
    assert [*heard(Judged(Query("cat", Kind.MESSAGE), ALLOWED, {"mute": Verdict()}))] == ["mute"]


def _list(value: JSON) -> list[JSON]:
    assert isinstance(value, list)
    return value
