"""Images over the wire: what Azure AI Content Safety lets pass reaches the backend as it came, nothing else does."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import aiohttp
import pytest

from safety_proxy.server.app import create_app
from safety_proxy.server.run import running
from safety_proxy.settings import load_settings
from safety_proxy.testing import Answer, FakeBackend
from tests.classifiers.azure_emulator import ANALYSE, KEY, LOOK, AzureEmulator
from tests.pictures import data_url, png
from tests.server.conftest import Serve
from tests.server.wire import Event, asks, post, received, whole, words

UNREADABLE = "version: 1\nname: test\nclassifiers: [embedded]\ninput: {unreadable: allow}\noutput: {}\n"


def ask_about(*urls: str, stream: bool = False) -> Event:
    images = [{"type": "image_url", "image_url": {"url": url, "detail": "low"}} for url in urls]
    return {
        **asks(stream=stream),
        "messages": [{"role": "user", "content": [{"type": "text", "text": "What is this?"}, *images]}],
    }


def cat(shows: str = "a cat") -> str:
    return data_url(png(shows))


@pytest.fixture(name="azure")
async def _azure() -> AsyncIterator[AzureEmulator]:
    emulator = AzureEmulator()
    await emulator.start()
    yield emulator
    await emulator.stop()


@pytest.fixture(name="proxy")
def _proxy(azure: AzureEmulator, backend: FakeBackend) -> Callable[[], AbstractAsyncContextManager[str]]:
    """A proxy under the shipped policy `azure-default`, in front of a backend that describes cats."""
    backend.answer = Answer.json(whole("A cat."))

    @asynccontextmanager
    async def proxy() -> AsyncIterator[str]:
        environ = {"CONTENT_SAFETY_ENDPOINT": azure.endpoint, "CONTENT_SAFETY_KEY": KEY}
        flags = {"backend": backend.url, "policy": "azure-default"}
        async with running(create_app(load_settings(config=None, flags=flags, environ=environ))) as url:
            yield url

    return proxy


Proxy = Callable[[], AbstractAsyncContextManager[str]]


@pytest.mark.parametrize("streamed", [True, False])
async def test_a_harmless_image_is_forwarded_as_it_came(
    proxy: Proxy, azure: AzureEmulator, backend: FakeBackend, http: aiohttp.ClientSession, streamed: bool
) -> None:
    if streamed:
        backend.answer = Answer.stream(*words("A cat."))
    asked = ask_about(cat(), cat("loathing"), stream=streamed)
    async with proxy() as url:
        status, body = await post(http, url, asked)

    assert status == 200
    assert [request.body for request in backend.requests] == [asked]
    answer = received(body)[0] if streamed else json.loads(body)
    [told] = answer["prompt_filter_results"]
    assert told["content_filter_results"]["hate"] == {"filtered": False, "severity": "low"}
    assert [request.path for request in azure.received if "image" in request.body] == [LOOK, LOOK]


@pytest.mark.parametrize("streamed", [True, False])
async def test_a_harmful_image_is_a_filtered_prompt(
    proxy: Proxy, backend: FakeBackend, http: aiohttp.ClientSession, streamed: bool
) -> None:
    async with proxy() as url:
        status, body = await post(http, url, ask_about(cat(), cat("blood everywhere"), stream=streamed))

    error = json.loads(body)["error"]
    assert (status, error["code"]) == (400, "content_filter")
    results = error["innererror"]["content_filter_result"]
    assert results["violence"] == {"filtered": True, "severity": "medium"}
    assert results["hate"] == {"filtered": False, "severity": "safe"}
    assert backend.requests == []


async def test_an_image_without_a_verdict_is_unavailable(
    proxy: Proxy, azure: AzureEmulator, backend: FakeBackend, http: aiohttp.ClientSession
) -> None:
    azure.fail_at(LOOK, status=500)
    async with proxy() as url, http.post(f"{url}/v1/chat/completions", json=ask_about(cat())) as response:
        assert response.status == 503
        assert response.headers["Retry-After"] == "1"
        assert (await response.json())["error"]["code"] == "content_filter_error"

    assert backend.requests == []


async def test_an_image_elsewhere_is_refused_and_not_fetched(
    proxy: Proxy, azure: AzureEmulator, backend: FakeBackend, http: aiohttp.ClientSession
) -> None:
    async with proxy() as url:
        status, body = await post(http, url, ask_about(cat(), f"{azure.endpoint}{ANALYSE}", f"{backend.url}/cat.png"))

    error = json.loads(body)["error"]
    assert (status, error["code"], error["param"]) == (400, "unsupported_content", "messages[0].content[2]")
    assert [request for request in azure.received if "image" in request.body] == []
    assert backend.requests == []


async def test_without_a_classifier_that_reads_images_they_are_refused(
    serve: Serve, backend: FakeBackend, http: aiohttp.ClientSession
) -> None:
    async with serve(backend) as url:
        status, body = await post(http, url, ask_about(cat()))

    error = json.loads(body)["error"]
    assert (status, error["code"], error["param"]) == (400, "unsupported_content", "messages[0].content[1]")
    assert backend.requests == []


@pytest.mark.parametrize("address", [cat(), "https://example.org/cat.png"])
async def test_a_policy_may_let_pass_what_nobody_reads(
    serve: Serve, backend: FakeBackend, http: aiohttp.ClientSession, address: str
) -> None:
    backend.answer = Answer.json(whole("A cat."))
    async with serve(backend, policy=UNREADABLE) as url:
        status, _ = await post(http, url, ask_about(address))

    assert status == 200
    assert [request.body for request in backend.requests] == [ask_about(address)]
