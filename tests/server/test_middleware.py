"""Every error is JSON, every request has an id and one line in the log - without a word of what was said."""

from __future__ import annotations

import json

import aiohttp
import pytest
import structlog
from yarl import URL

from safety_proxy.errors import BackendError, RequestError, StoreError
from safety_proxy.server.middleware import error_response
from safety_proxy.testing import Answer, FakeBackend, ScriptedClassifier
from tests.server.conftest import HARM, Serve
from tests.server.wire import asks, whole, words


@pytest.mark.parametrize(
    ("error", "status", "kind"),
    [
        (RequestError("no", field="n", code="c"), 400, "invalid_request_error"),
        (RequestError("no", status=401), 401, "authentication_error"),
        (RequestError("no", status=404), 404, "not_found_error"),
        (RequestError("no", status=503, retry_after=3), 503, "server_error"),
        (BackendError("no"), 502, "server_error"),
        (BackendError("no", status=429, retry_after=7), 429, "invalid_request_error"),
        (BackendError("no", status=400, error_type="BadRequestError", param="n"), 400, "BadRequestError"),
        (RequestError("no", status=403), 403, "permission_error"),
        (None, 500, "server_error"),
    ],
)
def test_every_error_is_one_object_with_the_same_four_keys(
    error: RequestError | BackendError | None, status: int, kind: str
) -> None:
    response = error_response(error)
    assert isinstance(response.body, bytes)
    body = json.loads(response.body)["error"]

    assert response.status == status
    assert set(body) == {"message", "type", "param", "code"}
    assert body["type"] == kind
    assert response.headers.get("x-ms-error-code") == body["code"]
    assert response.headers.get("Retry-After") == (
        str(error.retry_after) if error is not None and error.retry_after is not None else None
    )


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (RequestError("no", field="text"), 400, "InvalidRequestBody"),
        (RequestError("no", code="InvalidResourceName"), 400, "InvalidResourceName"),
        (RequestError("no", status=401, code="invalid_api_key"), 401, "401"),
        (RequestError("no", status=404, code="not_found"), 404, "404"),
        (RequestError("no", status=404, code="ResourceNotFound"), 404, "ResourceNotFound"),
        (StoreError("timeout"), 503, "ServerBusy"),
        (None, 500, "InternalError"),
    ],
)
def test_clients_of_content_safety_read_errors_as_azure_writes_them(
    error: RequestError | StoreError | None, status: int, code: str
) -> None:
    response = error_response(error, content_safety=True)
    assert isinstance(response.body, bytes)

    assert (response.status, response.headers["x-ms-error-code"]) == (status, code)
    assert json.loads(response.body)["error"]["code"] == code


def test_a_store_that_fails_is_told_by_a_word_of_ours_and_worth_another_try() -> None:
    response = error_response(StoreError("unreachable"))
    assert isinstance(response.body, bytes)

    assert (response.status, response.headers["Retry-After"]) == (503, "1")
    assert json.loads(response.body)["error"]["code"] == "store_unavailable"


@pytest.mark.parametrize(
    ("path", "azure"), [("/contentsafety/nothing", True), ("//contentsafety/nothing", True), ("/v1/nothing", False)]
)
async def test_the_shape_of_an_error_goes_by_the_path(
    serve: Serve, backend: FakeBackend, http: aiohttp.ClientSession, path: str, azure: bool
) -> None:
    async with serve(backend) as url, http.get(URL(url + path, encoded=True)) as response:
        error = (await response.json())["error"]

    assert error["code"] == ("404" if azure else "not_found")
    assert ("param" in error) is not azure


@pytest.mark.parametrize(
    ("sent", "kept"), [("abc-1.2:3_4", True), ("x" * 129, False), ("a b", False), ("<b>", False), ("", False)]
)
async def test_a_request_id_is_kept_if_it_has_the_shape_of_one(
    serve: Serve, backend: FakeBackend, http: aiohttp.ClientSession, sent: str, kept: bool
) -> None:
    async with serve(backend) as url, http.get(f"{url}/healthz", headers={"x-request-id": sent}) as response:
        given = response.headers["x-request-id"]

    assert (given == sent) is kept
    assert len(given) >= 11


async def test_a_bug_is_500_without_a_word_of_it(
    serve: Serve, backend: FakeBackend, http: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("secret")

    monkeypatch.setattr("safety_proxy.server.exchange.parse", broken)
    async with serve(backend) as url, http.post(f"{url}/v1/chat/completions", json=asks()) as response:
        body = await response.text()

    assert response.status == 500
    assert "secret" not in body
    assert "Zero" not in body


async def test_one_event_tells_of_each_request_and_nothing_of_its_text(
    serve: Serve, backend: FakeBackend, http: aiohttp.ClientSession
) -> None:
    backend.answer = Answer.stream(*words("A private answer. " * 9 + HARM))
    with structlog.testing.capture_logs() as events:
        async with serve(backend, classifier=ScriptedClassifier({HARM: ("violence", 6)})) as url:  # type: ignore[dict-item]  # its value
            async with http.post(f"{url}/v1/chat/completions", json=asks("a private question", stream=True)) as response:
                await response.read()
            backend.answer = Answer.json(whole("Hi"))
            async with http.post(f"{url}/v1/chat/completions", json=asks("a private question")) as response:
                await response.read()

    served = [event for event in events if event["event"] == "request.served"]
    assert [event["completion_decision"] for event in served] == ["content_filter", "allow"]
    assert {event["status"] for event in served} == {200}
    assert "private" not in str(events)
