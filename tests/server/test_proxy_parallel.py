"""``input.parallel``: the backend is called while the prompt is judged, and nobody can tell but by the time."""

from __future__ import annotations

import asyncio
import json

import aiohttp
import pytest

from safety_proxy.model import JSONObject, Kind
from safety_proxy.testing import Answer, FakeBackend
from tests.server.conftest import HARM, OUTAGE, Serve, scripted
from tests.server.wire import CHAT, SAFE, asks, content, event, finishes, post, received, whole, words

PARALLEL = "version: 1\nname: test\nclassifiers: [embedded]\ninput: {parallel: true}\noutput: {}\n"
STREAMED = pytest.mark.parametrize("streamed", [True, False])


def says(text: str, streamed: bool) -> Answer:
    return Answer.stream(*words(text)) if streamed else Answer.json(whole(text))


@STREAMED
async def test_the_backend_is_called_before_there_is_a_verdict_and_nothing_is_shown_before_it(
    serve: Serve, backend: FakeBackend, http: aiohttp.ClientSession, streamed: bool
) -> None:
    gate = asyncio.Event()
    backend.answer = says(SAFE, streamed)
    async with serve(backend, policy=PARALLEL, classifier=scripted(gate=gate)) as url:
        asked = asyncio.create_task(post(http, url, asks(stream=streamed)))
        await backend.asked.wait()
        assert not asked.done()
        gate.set()
        status, body = await asked
    assert status == 200
    text = content(received(body)) if streamed else json.loads(body)["choices"][0]["message"]["content"]
    assert text == SAFE


@STREAMED
async def test_of_a_filtered_prompt_the_call_is_called_off(
    serve: Serve, backend: FakeBackend, http: aiohttp.ClientSession, streamed: bool
) -> None:
    gate = asyncio.Event()
    backend.answer = Answer(head_after=asyncio.Event())
    async with serve(backend, policy=PARALLEL, classifier=scripted(gate=gate)) as url:
        asked = asyncio.create_task(http.post(url + CHAT, json=asks(HARM, stream=streamed)))
        await backend.asked.wait()
        gate.set()
        response = await asked
        assert response.status == 400
        assert (await response.json())["error"]["code"] == "content_filter"
        await backend.left.wait()


async def test_an_answer_that_has_begun_is_dropped_with_all_that_it_says_of_itself(
    serve: Serve, backend: FakeBackend, http: aiohttp.ClientSession
) -> None:
    gate = asyncio.Event()
    headers = {"Content-Type": "text/event-stream", "openai-processing-ms": "12"}
    backend.answer = Answer([b"data: x\n\n", asyncio.Event()], headers=headers)
    async with serve(backend, policy=PARALLEL, classifier=scripted(gate=gate)) as url:
        asked = asyncio.create_task(http.post(url + CHAT, json=asks(HARM, stream=True)))
        await backend.asked.wait()
        gate.set()
        response = await asked
        assert response.status == 400
        assert "openai-processing-ms" not in response.headers
        assert b"data: x" not in await response.read()
        await backend.left.wait()


@pytest.mark.parametrize(("text", "status"), [(HARM, 400), (OUTAGE, 503), ("hello", 429)])
async def test_the_word_on_the_prompt_comes_before_an_error_of_the_backend(
    serve: Serve, backend: FakeBackend, http: aiohttp.ClientSession, text: str, status: int
) -> None:
    backend.answer = Answer.json({"error": {"message": "slow down"}}, status=429)
    async with serve(backend, policy=PARALLEL) as url:
        assert (await post(http, url, asks(text)))[0] == status


async def test_a_client_that_leaves_ends_the_call(serve: Serve, backend: FakeBackend, http: aiohttp.ClientSession) -> None:
    backend.answer = Answer(head_after=asyncio.Event())
    classifier = scripted(gate=asyncio.Event())
    async with serve(backend, policy=PARALLEL, classifier=classifier) as url:
        asked = asyncio.create_task(post(http, url, asks()))
        await backend.asked.wait()
        asked.cancel()
        await backend.left.wait()


async def test_the_completion_is_judged_as_ever(serve: Serve, backend: FakeBackend, http: aiohttp.ClientSession) -> None:
    backend.answer = Answer.stream(*words(SAFE + HARM + SAFE))
    async with serve(backend, policy=PARALLEL) as url:
        status, body = await post(http, url, asks(stream=True))
    assert status == 200
    assert finishes(received(body)) == {0: ["content_filter"]}
    assert HARM[:1] not in content(received(body))[len(SAFE) :]


async def test_embeddings_are_called_in_parallel_too(
    serve: Serve, backend: FakeBackend, http: aiohttp.ClientSession
) -> None:
    gate = asyncio.Event()
    answer: JSONObject = {"object": "list", "model": "m", "data": [{"object": "embedding", "index": 0, "embedding": [0.5]}]}
    backend.answer = Answer.json(answer)
    async with serve(backend, policy=PARALLEL, classifier=scripted(gate=gate)) as url:
        body = {"model": "m", "input": "hello"}
        asked = asyncio.create_task(post(http, url, body, path="/v1/embeddings"))
        await backend.asked.wait()
        gate.set()
        status, received_body = await asked
    assert status == 200
    assert json.loads(received_body)["data"][0]["embedding"] == [0.5]


async def test_unless_the_policy_says_so_the_backend_waits(
    serve: Serve, backend: FakeBackend, http: aiohttp.ClientSession
) -> None:
    backend.answer = Answer.stream(event({"content": "x"}, "stop"))
    classifier = scripted()
    async with serve(backend, classifier=classifier) as url:
        assert (await post(http, url, asks(HARM, stream=True)))[0] == 400
    assert {query.kind for query in classifier.asked} == {Kind.USER_PROMPT}
    assert backend.requests == []
