"""Azure's routes and what they take beside a body: versions, extra parameters, and how their streams begin."""

from __future__ import annotations

import json

import aiohttp
import pytest
from aiohttp import web

from safety_proxy.dialects import DIALECTS, EMBEDDINGS
from safety_proxy.server.azure_api import is_azure_route, route_of
from safety_proxy.testing import Answer, FakeBackend
from tests.server.conftest import HARM, Serve
from tests.server.wire import SAFE, Event, asks, content, finishes, plain, post, received, whole, words

AZURE = ["/chat/completions", "/openai/deployments/default/chat/completions"]
OPENAI = ["/v1/chat/completions", "/openai/v1/chat/completions"]
BARE = {"choices": [], "created": 0, "id": "", "model": "", "object": ""}


def test_azures_routes_are_those_outside_v1() -> None:
    assert [path for path in [*DIALECTS, *EMBEDDINGS] if not is_azure_route(path)] == [
        path for path in [*DIALECTS, *EMBEDDINGS] if "/v1/" in path
    ]
    assert all(map(is_azure_route, AZURE))


async def test_a_request_outside_all_routes_has_none(
    http: aiohttp.ClientSession, serve: Serve, backend: FakeBackend
) -> None:
    routes: list[str] = []

    async def note(request: web.Request) -> web.Response:
        routes.append(route_of(request))
        return web.Response()

    app = web.Application()
    app.router.add_get("/a/{name}", note)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    async with http.get(f"http://{host}:{port}/a/b"):
        pass
    await runner.cleanup()

    assert routes == ["/a/{name}"]


# ------------------------------------------------------------------------------------------------------------- streams


@pytest.mark.parametrize("path", AZURE)
async def test_a_stream_of_azure_begins_with_an_event_about_the_prompt(
    serve: Serve, backend: FakeBackend, http: aiohttp.ClientSession, path: str
) -> None:
    backend.answer = Answer.stream(*words(SAFE))
    async with serve(backend) as url:
        _, body = await post(http, url, asks(stream=True), path)
    first, *rest = received(body)

    [results] = first.pop("prompt_filter_results")
    assert first == BARE
    assert results["content_filter_results"]["violence"] == {"filtered": False, "severity": "safe"}
    assert not any("prompt_filter_results" in event for event in rest)
    assert plain(rest) == words(SAFE)


@pytest.mark.parametrize("path", OPENAI)
async def test_a_stream_of_openai_begins_with_a_choice(
    serve: Serve, backend: FakeBackend, http: aiohttp.ClientSession, path: str
) -> None:
    backend.answer = Answer.stream(*words(SAFE))
    async with serve(backend) as url:
        _, body = await post(http, url, asks(stream=True), path)
    first, *rest = received(body)

    assert first["choices"]
    assert "prompt_filter_results" in first
    assert not any("prompt_filter_results" in event for event in rest)


async def test_the_event_about_the_prompt_comes_before_the_backends_first(
    serve: Serve, backend: FakeBackend, http: aiohttp.ClientSession
) -> None:
    frame: Event = {"id": "x", "choices": [], "usage": None}
    backend.answer = Answer.stream(frame, *words("Hi"))
    async with serve(backend) as url:
        _, body = await post(http, url, asks(stream=True), AZURE[0])

    assert "prompt_filter_results" in received(body)[0]


@pytest.mark.parametrize("route", [*AZURE, *OPENAI])
async def test_a_refusal_in_the_form_of_a_stream_begins_alike(
    serve: Serve, backend: FakeBackend, http: aiohttp.ClientSession, route: str
) -> None:
    policy = "version: 1\nname: test\nclassifiers: [embedded]\ninput: {block_as: completion}\noutput: {}\n"
    async with serve(backend, policy=policy) as url:
        _, body = await post(http, url, asks(HARM, stream=True), route)
    events = received(body)

    assert ["prompt_filter_results" in event for event in events] == ([True, False] if route in AZURE else [True])
    assert finishes(events) == {0: ["content_filter"]}


async def test_without_annotations_there_is_no_event_about_the_prompt(
    serve: Serve, backend: FakeBackend, http: aiohttp.ClientSession
) -> None:
    backend.answer = Answer.stream(*words("Hi"))
    policy = "version: 1\nname: test\nclassifiers: [embedded]\nannotations: false\ninput: {}\noutput: {}\n"
    async with serve(backend, policy=policy) as url:
        _, body = await post(http, url, asks(stream=True), AZURE[0])

    assert received(body) == words("Hi")


@pytest.mark.parametrize("path", [*AZURE, *OPENAI])
async def test_the_same_text_is_cut_on_every_route(
    serve: Serve, backend: FakeBackend, http: aiohttp.ClientSession, path: str
) -> None:
    backend.answer = Answer.stream(*words(SAFE[:333] + HARM + SAFE))
    async with serve(backend) as url:
        _, body = await post(http, url, asks(stream=True), path)
    events = received(body)

    assert finishes(events) == {0: ["content_filter"]}
    assert SAFE[:333].startswith(content(events))
    assert backend.requests[-1].path == "/v1/chat/completions"


# ------------------------------------------------------------------------------------------------------------ versions


@pytest.mark.parametrize(
    "query", ["", "?api-version=2024-05-01-preview", "?api-version=2025-04-01", "?api-version=preview", "?other=x"]
)
async def test_any_version_will_do(serve: Serve, backend: FakeBackend, http: aiohttp.ClientSession, query: str) -> None:
    backend.answer = Answer.json(whole("Hi"))
    async with serve(backend) as url:
        assert (await post(http, url, asks(), f"/chat/completions{query}"))[0] == 200


@pytest.mark.parametrize(
    "version",
    [
        "",
        "2024",
        "2024-13-01",
        "2024-05-32",
        "2024-05-01-beta",
        "2024-05-01 ",
        "x&api-version=2024-05-01",
        "%D9%A1024-05-01",
    ],
)
@pytest.mark.parametrize("path", ["/chat/completions", "/v1/models", "/info"])
async def test_what_is_no_version_is_refused(
    serve: Serve, backend: FakeBackend, http: aiohttp.ClientSession, version: str, path: str
) -> None:
    method = http.post if path.endswith("completions") else http.get
    async with serve(backend) as url, method(f"{url}{path}?api-version={version}", json=asks()) as response:
        error = (await response.json())["error"]

    assert (response.status, error["param"], error["type"]) == (400, "api-version", "invalid_request_error")
    assert backend.requests == []


# ---------------------------------------------------------------------------------------------------- extra parameters


async def test_unknown_parameters_are_passed_through_unless_somebody_objects(
    serve: Serve, backend: FakeBackend, http: aiohttp.ClientSession
) -> None:
    backend.answer = Answer.json(whole("Hi"))
    async with serve(backend) as url:
        for headers in ({}, {"extra-parameters": "pass-through"}):
            assert (await post(http, url, asks(odd=1), **headers))[0] == 200
            assert backend.requests[-1].body["odd"] == 1


async def test_dropped_parameters_are_neither_judged_nor_forwarded(
    serve: Serve, backend: FakeBackend, http: aiohttp.ClientSession
) -> None:
    backend.answer = Answer.json(whole("Hi"))
    async with serve(backend) as url:
        status, _ = await post(http, url, asks(odd=HARM, top_k=3), **{"extra-parameters": "drop"})

    assert status == 200
    assert backend.requests[-1].body == asks(top_k=3)


@pytest.mark.parametrize(("mode", "param"), [("error", "odd"), ("ignore", "extra-parameters")])
async def test_a_refusal_names_what_is_wrong(
    serve: Serve, backend: FakeBackend, http: aiohttp.ClientSession, mode: str, param: str
) -> None:
    async with serve(backend) as url:
        status, body = await post(http, url, asks(odd=1), **{"extra-parameters": mode})

    assert (status, json.loads(body)["error"]["param"]) == (400, param)
    assert backend.requests == []
