"""What goes wrong, and how it is told; routes, deployments and overload."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

import aiohttp
import pytest

from safety_proxy.testing import Answer, FakeBackend
from tests.server.conftest import HARM, Serve
from tests.server.wire import CHAT, asks, content, finishes, plain, post, received, stream, whole, words


async def test_too_large_a_body_is_413(serve: Serve, backend: FakeBackend, http: aiohttp.ClientSession) -> None:
    async with serve(backend, config="limits: {body: 2KiB}\n") as url:
        status, body = await post(http, url, asks("x" * 3000))

    assert (status, json.loads(body)["error"]["code"]) == (413, "request_too_large")


async def test_an_unreachable_backend_is_502_and_a_slow_one_504(
    serve: Serve, backend: FakeBackend, http: aiohttp.ClientSession
) -> None:
    config = (
        "backends: {gone: {url: 'http://127.0.0.1:9'}, slow: {url: 'BACKEND', timeout: {first_byte: 50ms}}}\n"
        "deployments: {gone: {backend: gone, policy: test}, slow: {backend: slow, policy: test}}\n"
    )
    backend.answer = Answer(head_after=asyncio.Event())
    async with serve(backend, config=config, flags={}) as url:
        statuses = [(await post(http, url, asks(stream=True) | {"model": model}))[0] for model in ("gone", "slow")]

    assert statuses == [502, 504]


async def test_a_backend_that_falls_silent_in_mid_stream_is_told(
    serve: Serve, backend: FakeBackend, http: aiohttp.ClientSession
) -> None:
    config = (
        "backends: {slow: {url: 'BACKEND', timeout: {idle: 100ms}}}\ndeployments: {slow: {backend: slow, policy: test}}\n"
        "default_deployment: slow\n"
    )
    backend.answer = Answer([*Answer.stream(*words("Hi")[:-1], done=False).pieces, asyncio.Event()])
    async with serve(backend, config=config, flags={}) as url:
        events = await stream(http, url)

    assert content(events) == "Hi"
    assert finishes(events) == {0: ["error"]}
    assert events[-1]["error"]["code"] == "backend_timeout"


@pytest.mark.parametrize("status", [400, 401, 404, 422, 429, 500, 503])
async def test_the_backends_own_errors_keep_their_status_and_lose_their_words(
    serve: Serve, backend: FakeBackend, http: aiohttp.ClientSession, status: int
) -> None:
    backend.answer = Answer.json({"error": {"message": f"you said: {HARM}", "code": "odd_code"}}, status)
    async with serve(backend) as url:
        got, body = await post(http, url, asks())

    assert got == status
    assert json.loads(body)["error"]["code"] == "odd_code"
    assert HARM.encode() not in body


@pytest.mark.parametrize(
    "answer", [{"error": {"message": "x"}}, {"choices": []}, {"choices": "x"}, [], "x", {"object": "error"}]
)
async def test_an_answer_that_is_no_completion_is_a_bad_gateway(
    serve: Serve, backend: FakeBackend, http: aiohttp.ClientSession, answer: object
) -> None:
    backend.answer = Answer.json(answer)  # type: ignore[arg-type]  # JSON of any kind
    async with serve(backend) as url:
        assert (await post(http, url, asks()))[0] == 502
        assert (await post(http, url, asks(stream=True)))[0] == 502


@pytest.mark.parametrize(
    "path", ["/", "/v1/responses", "/v1/messages", "/v1/embeddings/", "/v1//chat/completions", "/tokenize"]
)
async def test_unknown_routes_are_404_and_never_forwarded(
    serve: Serve, backend: FakeBackend, http: aiohttp.ClientSession, path: str
) -> None:
    async with serve(backend) as url:
        status, body = await post(http, url, asks(), path)

    assert (status, json.loads(body)["error"]["code"]) == (404, "not_found")
    assert backend.requests == []


ROUTES = {
    "/v1/chat/completions": "POST",
    "/completions": "POST",
    "/openai/deployments/default/chat/completions": "POST",
    "/openai/v1/embeddings": "POST",
    "/v1/models": "GET",
    "/openai/v1/models/default": "GET",
    "/info": "GET",
    "/openapi.json": "GET",
}


@pytest.mark.parametrize("method", ["GET", "POST", "HEAD", "OPTIONS", "PUT", "DELETE", "TRACE"])
@pytest.mark.parametrize("path", ROUTES)
async def test_other_methods_are_405(
    serve: Serve, backend: FakeBackend, http: aiohttp.ClientSession, path: str, method: str
) -> None:
    async with serve(backend) as url, http.request(method, url + path) as response:
        if method == ROUTES[path]:
            assert response.status in {200, 400}
        else:
            assert (response.status, response.headers["Allow"]) == (405, ROUTES[path])
    assert backend.requests == []


@pytest.mark.parametrize("path", ROUTES)
async def test_a_slash_at_the_end_makes_another_route_which_is_none(
    serve: Serve, backend: FakeBackend, http: aiohttp.ClientSession, path: str
) -> None:
    async with serve(backend) as url, http.request(ROUTES[path], f"{url}{path}/", json=asks()) as response:
        assert response.status == 404
        assert set((await response.json())["error"]) == {"message", "type", "param", "code"}
    assert backend.requests == []


async def test_overload_is_answered_at_once(serve: Serve, backend: FakeBackend, http: aiohttp.ClientSession) -> None:
    backend.answer = Answer([asyncio.Event()])
    async with serve(backend, config="limits: {requests: 1}\n") as url, asyncio.timeout(5):
        first = asyncio.get_running_loop().create_task(post(http, url, asks()))
        await backend.asked.wait()
        async with http.post(url + CHAT, json=asks()) as response:
            assert response.status == 503
            assert response.headers["Retry-After"] == "1"
        async with http.get(url + "/healthz") as response:
            assert response.status == 200
        first.cancel()


async def test_open_streams_are_bounded_apart_from_other_calls(
    serve: Serve, backend: FakeBackend, http: aiohttp.ClientSession
) -> None:
    backend.answer = Answer([*Answer.stream(*words("Hi")[:1], done=False).pieces, asyncio.Event()])
    async with (
        serve(backend, config="limits: {requests: 1, streams: 1}\n") as url,
        asyncio.timeout(5),
        http.post(url + CHAT, json=asks(stream=True)) as first,
    ):
        await first.content.readany()
        assert (await post(http, url, asks(stream=True)))[0] == 503
        assert len(backend.requests) == 1
        backend.answer = Answer.json(whole("Hi"))
        assert (await post(http, url, asks()))[0] == 200


@pytest.fixture(name="deployments")
async def _deployments(serve: Serve, backend: FakeBackend) -> AsyncIterator[str]:
    config = (
        "backends: {one: {url: 'BACKEND', key: backend-key}}\n"
        "deployments:\n"
        "  llama: {backend: one, model: Meta-Llama, policy: test}\n"
        "  raw: {backend: one, policy: off}\n"
    )
    async with serve(backend, config=config, flags={}) as url:
        yield url


async def test_a_deployment_names_backend_model_and_key(
    deployments: str, backend: FakeBackend, http: aiohttp.ClientSession
) -> None:
    backend.answer = Answer.json(whole("Hi"))
    assert (await post(http, deployments, {**asks(), "model": "llama"}))[0] == 200

    [asked] = backend.requests
    assert asked.body["model"] == "Meta-Llama"
    assert asked.headers["Authorization"] == "Bearer backend-key"


async def test_a_deployment_that_opted_out_passes_bytes_and_says_so(
    deployments: str, backend: FakeBackend, http: aiohttp.ClientSession
) -> None:
    backend.answer = Answer.stream(*words(HARM))
    async with http.post(deployments + CHAT, json={**asks(HARM, stream=True), "model": "raw"}) as response:
        assert response.headers["x-safety-proxy-policy"] == "off"
        assert plain(received(await response.read())) == words(HARM)


async def test_models_that_are_no_deployment_are_404_without_a_default(
    deployments: str, backend: FakeBackend, http: aiohttp.ClientSession
) -> None:
    assert (await post(http, deployments, asks()))[0] == 404
    assert backend.requests == []
