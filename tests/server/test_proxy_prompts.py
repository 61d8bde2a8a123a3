"""Requests: what is refused, what is judged, what goes to the backend."""

from __future__ import annotations

import json

import aiohttp
import pytest

from safety_proxy.testing import Answer, FakeBackend
from tests.server.conftest import HARM, OUTAGE, Serve
from tests.server.wire import CHAT, asks, post, received, whole


@pytest.mark.parametrize("streamed", [True, False])
async def test_a_filtered_prompt_is_an_error_and_the_backend_is_not_asked(
    serve: Serve, backend: FakeBackend, http: aiohttp.ClientSession, streamed: bool
) -> None:
    async with serve(backend) as url, http.post(url + CHAT, json=asks(HARM, stream=streamed)) as response:
        body = await response.json()
        assert response.status == 400
        assert "Retry-After" not in response.headers
        assert response.headers["x-safety-proxy-decision"] == "block"
        assert response.headers["x-ms-error-code"] == "content_filter"

    assert body["error"]["code"] == body["code"] == "content_filter"
    assert body["error"]["innererror"]["content_filter_result"]["violence"] == {"filtered": True, "severity": "high"}
    assert backend.requests == []


async def test_a_prompt_without_a_verdict_is_unavailable(
    serve: Serve, backend: FakeBackend, http: aiohttp.ClientSession
) -> None:
    async with serve(backend) as url, http.post(url + CHAT, json=asks(OUTAGE)) as response:
        assert response.status == 503
        assert response.headers["Retry-After"] == "1"
        assert (await response.json())["error"]["code"] == "content_filter_error"

    assert backend.requests == []


@pytest.mark.parametrize("streamed", [True, False])
async def test_a_policy_may_answer_a_filtered_prompt_as_a_completion(
    serve: Serve, backend: FakeBackend, http: aiohttp.ClientSession, streamed: bool
) -> None:
    policy = "version: 1\nname: test\nclassifiers: [embedded]\ninput: {block_as: completion}\noutput: {}\n"
    async with serve(backend, policy=policy) as url:
        status, body = await post(http, url, asks(HARM, stream=streamed, n=2))

    assert status == 200
    choices = [e["choices"][0] for e in received(body)] if streamed else json.loads(body)["choices"]
    assert [(choice["index"], choice["finish_reason"]) for choice in choices] == [
        (0, "content_filter"),
        (1, "content_filter"),
    ]
    assert backend.requests == []


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"model": "m"}, "messages"),
        ({"messages": "hello"}, "messages"),
        ({"messages": []}, "messages"),
        ({"messages": ["hello"]}, "messages[0]"),
        ({"messages": [{"content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": "user", "content": 7}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": "x"}], "stream": "maybe"}, "stream"),
        ({"messages": [{"role": "user", "content": "x"}], "n": 0}, "n"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:"}}]}]},
            "messages[0].content[0]",
        ),
    ],
)
async def test_a_wrong_request_is_refused_with_the_field_named(
    serve: Serve, backend: FakeBackend, http: aiohttp.ClientSession, body: object, field: str
) -> None:
    async with serve(backend) as url:
        status, answer = await post(http, url, body)

    error = json.loads(answer)["error"]
    assert (status, error["param"], error["type"]) == (400, field, "invalid_request_error")
    assert backend.requests == []


async def test_what_is_forwarded_is_what_was_moderated(
    serve: Serve, backend: FakeBackend, http: aiohttp.ClientSession
) -> None:
    backend.answer = Answer.json(whole("Hi"))
    raw = (
        b'{"messages": [{"role": "user", "content": "'
        + HARM.encode()
        + b'", "content": "fine"}], "stream": "False", "odd": [1.50]}'
    )
    headers = {"Authorization": "Bearer client-key", "Cookie": "a=b", "x-custom": "1"}
    async with serve(backend) as url, http.post(url + CHAT, data=raw, headers=headers) as response:
        assert response.status == 200

    [asked] = backend.requests
    assert asked.body == {"messages": [{"role": "user", "content": "fine"}], "stream": False, "odd": [1.5]}
    assert asked.path == "/v1/chat/completions"
    assert not {"Authorization", "Cookie", "x-custom"} & set(asked.headers)
