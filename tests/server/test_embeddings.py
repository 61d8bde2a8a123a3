"""Embeddings through the proxy: inputs judged, numbers passed on."""

from __future__ import annotations

import json

import aiohttp
import pytest

from safety_proxy.testing import Answer, FakeBackend
from tests.server.conftest import HARM, OUTAGE, Serve
from tests.server.wire import Event, post

PATHS = ["/v1/embeddings", "/embeddings", "/openai/v1/embeddings", "/openai/deployments/default/embeddings"]
SENT: Event = {
    "object": "list",
    "data": [{"object": "embedding", "index": 0, "embedding": [0.25, -1.5]}],
    "model": "m",
    "usage": {"prompt_tokens": 1, "total_tokens": 1},
}


@pytest.mark.parametrize("path", PATHS)
async def test_numbers_arrive_as_they_were_sent(
    serve: Serve, backend: FakeBackend, http: aiohttp.ClientSession, path: str
) -> None:
    backend.answer = Answer.json(SENT)
    async with serve(backend) as url, http.post(url + path, json={"input": ["a", "b"], "dimensions": 2}) as response:
        assert (response.status, await response.json()) == (200, SENT)
        assert response.headers["x-safety-proxy-decision"] == "allow"
        assert response.headers["x-safety-proxy-policy"].startswith("test@")

    assert (backend.requests[-1].path, backend.requests[-1].body) == (
        "/v1/embeddings",
        {"input": ["a", "b"], "dimensions": 2},
    )


@pytest.mark.parametrize("block_as", ["error", "completion"])
async def test_a_filtered_input_is_an_error_and_the_backend_is_not_asked(
    serve: Serve, backend: FakeBackend, http: aiohttp.ClientSession, block_as: str
) -> None:
    policy = f"version: 1\nname: test\nclassifiers: [embedded]\ninput: {{block_as: {block_as}}}\noutput: {{}}\n"
    async with serve(backend, policy=policy) as url:
        status, body = await post(http, url, {"input": ["fine", HARM]}, PATHS[0])

    error = json.loads(body)["error"]
    assert (status, error["code"]) == (400, "content_filter")
    assert error["innererror"]["content_filter_result"]["violence"]["filtered"] is True
    assert backend.requests == []


async def test_an_input_without_a_verdict_is_unavailable(
    serve: Serve, backend: FakeBackend, http: aiohttp.ClientSession
) -> None:
    async with serve(backend) as url, http.post(url + PATHS[0], json={"input": OUTAGE}) as response:
        assert response.status == 503
        assert response.headers["Retry-After"] == "1"


async def test_token_ids_are_refused(serve: Serve, backend: FakeBackend, http: aiohttp.ClientSession) -> None:
    async with serve(backend) as url:
        status, body = await post(http, url, {"input": [[1, 2]]}, PATHS[0])

    error = json.loads(body)["error"]
    assert (status, error["code"], error["param"]) == (400, "unsupported_content", "input[0]")


async def test_harmless_words_of_an_answer_pass_and_others_are_left_out(
    serve: Serve, backend: FakeBackend, http: aiohttp.ClientSession
) -> None:
    async with serve(backend) as url:
        for note, passes in (("a harmless note", True), (HARM, False), (OUTAGE, False)):
            backend.answer = Answer.json({**SENT, "note": note})
            status, body = await post(http, url, {"input": "a"}, PATHS[0])
            assert status == 200
            assert json.loads(body) == ({**SENT, "note": note} if passes else SENT)


@pytest.mark.parametrize("answer", [Answer.json({"data": "x"}), Answer([b"no JSON"]), Answer.stream({"data": []})])
async def test_what_is_no_answer_is_a_bad_gateway(
    serve: Serve, backend: FakeBackend, http: aiohttp.ClientSession, answer: Answer
) -> None:
    backend.answer = answer
    async with serve(backend) as url:
        assert (await post(http, url, {"input": "a"}, PATHS[0]))[0] == 502


async def test_the_backends_own_errors_keep_their_status(
    serve: Serve, backend: FakeBackend, http: aiohttp.ClientSession
) -> None:
    backend.answer = Answer.json({"error": {"message": "x", "code": "odd_code"}}, 422)
    async with serve(backend) as url:
        status, body = await post(http, url, {"input": "a"}, PATHS[0])

    assert (status, json.loads(body)["error"]["code"]) == (422, "odd_code")


async def test_a_deployment_that_opted_out_is_passed_through(
    serve: Serve, backend: FakeBackend, http: aiohttp.ClientSession
) -> None:
    backend.answer = Answer.json({**SENT, "note": HARM})
    async with (
        serve(backend, flags={"backend": backend.url, "policy": "off"}) as url,
        http.post(url + PATHS[0], json={"input": HARM}) as response,
    ):
        assert (await response.json())["note"] == HARM
        assert response.headers["x-safety-proxy-policy"] == "off"
