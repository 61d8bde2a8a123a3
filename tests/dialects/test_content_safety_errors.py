"""Errors have the words of Azure AI Content Safety where it has some, and the status where its gateway would answer."""

from __future__ import annotations

import pytest

from safety_proxy.dialects.content_safety_errors import content_safety_error


@pytest.mark.parametrize(
    ("status", "word"),
    [
        (400, "InvalidRequestBody"),
        (413, "InvalidRequestBody"),
        (415, "InvalidRequestBody"),
        (429, "TooManyRequests"),
        (500, "InternalError"),
        (503, "ServerBusy"),
    ],
)
def test_a_status_has_its_word_and_a_reason_of_ours_stands_inside(status: int, word: str) -> None:
    code, body = content_safety_error(status, "m", code="reason_of_ours", target="text")
    assert code == word
    assert body == {
        "error": {"code": word, "message": "m", "target": "text", "details": [], "innererror": {"code": "reason_of_ours"}}
    }


@pytest.mark.parametrize(
    ("status", "word"),
    [(400, "InvalidRequestBody"), (400, "InvalidResourceName"), (404, "ResourceNotFound"), (503, "ServerBusy")],
)
def test_a_word_of_azures_is_the_code(status: int, word: str) -> None:
    assert content_safety_error(status, "m", code=word) == (
        word,
        {"error": {"code": word, "message": "m", "target": None, "details": []}},
    )


def test_an_error_without_a_reason_has_none_inside() -> None:
    _, body = content_safety_error(400, "m")
    assert body == {"error": {"code": "InvalidRequestBody", "message": "m", "target": None, "details": []}}


@pytest.mark.parametrize(
    ("status", "code", "message"),
    [
        (401, "invalid_api_key", "Access denied due to invalid subscription key or wrong API endpoint."),
        (404, "not_found", "Resource not found"),
        (405, "method_not_allowed", "as it is"),
        (403, "forbidden", "as it is"),
    ],
)
def test_the_gateway_answers_with_the_status(status: int, code: str, message: str) -> None:
    told, body = content_safety_error(status, "as it is", code=code)
    assert told == str(status)
    assert list(body) == ["error"]
    error = body["error"]
    assert isinstance(error, dict)
    assert error["code"] == str(status)
    assert str(error["message"]).startswith(message)
