"""Decisions in Azure's shapes."""

from __future__ import annotations

from safety_proxy.dialects.annotations import annotated, apart, error_body, filter_results, prompt_results, refusal
from safety_proxy.events import Offsets
from safety_proxy.jsontext import as_object
from safety_proxy.model import ALLOWED, Action, Annotation, Category, Decision, JSONObject

FILTERED = Decision(
    Action.FILTER,
    {
        Category.VIOLENCE: Annotation(filtered=True, severity=5),
        Category.HATE: Annotation(filtered=False, severity=0),
        Category.JAILBREAK: Annotation(filtered=False, detected=False),
        Category.INDIRECT_ATTACK: Annotation(filtered=False, detected=True),
    },
)
RESULTS: JSONObject = {
    "violence": {"filtered": True, "severity": "medium"},
    "hate": {"filtered": False, "severity": "safe"},
    "jailbreak": {"filtered": False, "detected": False},
    "indirect_attack": {"filtered": False, "detected": True},
}


def test_harms_have_a_severity_and_the_others_are_found_or_not() -> None:
    assert filter_results(FILTERED) == RESULTS


def test_only_what_was_judged_is_told() -> None:
    assert filter_results(ALLOWED) == {}


def test_blocklists_are_custom_blocklists() -> None:
    decision = Decision(Action.FILTER, blocklists={"house": True, "brands": False})

    assert filter_results(decision) == {
        "custom_blocklists": {
            "filtered": True,
            "details": [{"id": "house", "filtered": True}, {"id": "brands", "filtered": False}],
        }
    }
    assert filter_results(Decision(Action.ALLOW, blocklists={"brands": False})) == {
        "custom_blocklists": {"filtered": False, "details": [{"id": "brands", "filtered": False}]}
    }


def test_a_missing_verdict_is_an_error_that_tells_what_became_of_the_text() -> None:
    passed = filter_results(Decision(Action.ALLOW, error="timeout"))
    withheld = filter_results(Decision(Action.FAIL, error="timeout"))

    assert passed == {"error": {"code": "content_filter_error", "message": "The contents are not filtered (timeout)"}}
    assert withheld == {"error": {"code": "content_filter_error", "message": "No decision could be made (timeout)"}}


def test_results_of_the_backend_stay_where_ours_say_nothing() -> None:
    choice: JSONObject = {"index": 0, "content_filter_results": {"hate": {"filtered": True}, "purview": {"detected": True}}}

    assert annotated(choice, {"hate": {"filtered": False}}) == {
        "index": 0,
        "content_filter_results": {"hate": {"filtered": False}, "purview": {"detected": True}},
    }
    assert annotated({"content_filter_results": None}, {}) == {"content_filter_results": {}}


def test_what_is_told_apart_from_its_text_has_offsets_from_the_start_of_the_prompt() -> None:
    allowed = Decision(Action.ALLOW, {Category.HATE: Annotation(filtered=False, severity=2)}, error="timeout")

    assert apart(allowed, Offsets(3, 5, 9), before=100) == {
        "content_filter_results": filter_results(allowed),
        "content_filter_offsets": {"check_offset": 103, "start_offset": 105, "end_offset": 109},
    }


def test_an_end_that_is_told_apart_names_only_what_led_to_it() -> None:
    found = {Category.HATE: Annotation(filtered=True, severity=6), Category.SEXUAL: Annotation(filtered=False, severity=2)}
    filtered = Decision(Action.FILTER, found, {"house": True, "watched": False}, error="timeout")
    failed = Decision(Action.FAIL, {Category.SEXUAL: Annotation(filtered=False, severity=2)}, error="timeout")

    assert apart(filtered, Offsets(0, 0, 1), 0)["content_filter_results"] == {
        "hate": {"filtered": True, "severity": "high"},
        "custom_blocklists": {"filtered": True, "details": [{"id": "house", "filtered": True}]},
    }
    assert list(as_object(apart(failed, Offsets(0, 0, 1), 0)["content_filter_results"])) == ["error"]


def test_there_is_an_entry_for_each_prompt_in_order() -> None:
    assert prompt_results({1: ALLOWED, 0: FILTERED}) == [
        {"prompt_index": 0, "content_filter_results": RESULTS},
        {"prompt_index": 1, "content_filter_results": {}},
    ]


def test_an_error_has_all_four_keys() -> None:
    assert error_body("m", kind="server_error") == {
        "error": {"message": "m", "type": "server_error", "param": None, "code": None}
    }


def test_a_filtered_prompt_is_a_400_that_both_clients_can_read() -> None:
    status, body = refusal(FILTERED)
    error = body["error"]
    assert isinstance(error, dict)

    assert status == 400
    assert {key: error[key] for key in ("type", "param", "code", "status", "innererror")} == {
        "type": "invalid_request_error",
        "param": "prompt",
        "code": "content_filter",
        "status": 400,
        "innererror": {"code": "ResponsibleAIPolicyViolation", "content_filter_result": RESULTS},
    }
    assert (body["status"], body["code"], body["message"]) == (400, "content_filter", error["message"])
    assert "Please modify your prompt and retry." in str(error["message"])


def test_a_prompt_without_a_verdict_is_a_503() -> None:
    status, body = refusal(Decision(Action.FAIL, error="timeout"))
    error = body["error"]
    assert isinstance(error, dict)

    assert (status, error["status"], error["code"], error["type"]) == (503, 503, "content_filter_error", "server_error")
    assert (body["status"], body["code"], body["message"]) == (503, "content_filter_error", error["message"])
    assert "timeout" in str(error["innererror"])
