"""What a caller is told of the deployments: its own, by the names by which it calls them."""

from __future__ import annotations

import hashlib
from typing import Any

import aiohttp
import pytest

from safety_proxy.testing import FakeBackend
from tests.server.conftest import Serve


def digest(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


DEPLOYMENTS = """
backends: {one: {url: 'BACKEND', key: backend-key}}
deployments:
  meta/llama: {backend: one, model: Meta-Llama, policy: test, provider: Meta AI}
  small: {backend: one, policy: test, model_type: embeddings}
  raw: {backend: one, policy: off}
default_deployment: meta/llama
"""
KEYS = f"""
keys:
  - {{name: all, sha256: "{digest("key-all")}"}}
  - {{name: some, sha256: "{digest("key-some")}", deployments: [small]}}
"""
LLAMA = {"id": "meta/llama", "object": "model", "created": 0, "owned_by": "Meta AI"}
SMALL = {"id": "small", "object": "model", "created": 0, "owned_by": "unknown"}
RAW = {"id": "raw", "object": "model", "created": 0, "owned_by": "unknown"}
PREFIXES = ["/v1", "/openai/v1"]


async def get(
    serve: Serve, backend: FakeBackend, http: aiohttp.ClientSession, path: str, keys: str = KEYS, **headers: str
) -> tuple[int, Any]:
    async with (
        serve(backend, config=DEPLOYMENTS + keys, flags={}) as url,
        http.get(url + path, headers=headers) as response,
    ):
        return response.status, await response.json()


@pytest.mark.parametrize("prefix", PREFIXES)
@pytest.mark.parametrize(
    ("key", "models"), [("key-all", [LLAMA, SMALL]), ("key-some", [SMALL])], ids=["all but the raw one", "listed"]
)
async def test_a_key_is_told_of_the_deployments_that_it_may_use(
    serve: Serve, backend: FakeBackend, http: aiohttp.ClientSession, prefix: str, key: str, models: list[object]
) -> None:
    answer = await get(serve, backend, http, f"{prefix}/models", **{"api-key": key})

    assert answer == (200, {"object": "list", "data": models})
    assert backend.requests == []


async def test_without_keys_everybody_is_told_of_all(
    serve: Serve, backend: FakeBackend, http: aiohttp.ClientSession
) -> None:
    _, answer = await get(serve, backend, http, "/v1/models", keys="")
    assert answer["data"] == [LLAMA, SMALL, RAW]


@pytest.mark.parametrize("prefix", PREFIXES)
@pytest.mark.parametrize("name", ["meta/llama", "meta%2Fllama"])
async def test_one_deployment_is_shown_by_its_name(
    serve: Serve, backend: FakeBackend, http: aiohttp.ClientSession, prefix: str, name: str
) -> None:
    assert await get(serve, backend, http, f"{prefix}/models/{name}", **{"api-key": "key-all"}) == (200, LLAMA)


@pytest.mark.parametrize(("name", "key"), [("none", "key-all"), ("raw", "key-all"), ("meta/llama", "key-some")])
async def test_a_deployment_that_is_not_open_is_none(
    serve: Serve, backend: FakeBackend, http: aiohttp.ClientSession, name: str, key: str
) -> None:
    status, answer = await get(serve, backend, http, f"/v1/models/{name}", **{"api-key": key})

    assert (status, answer["error"]["code"], answer["error"]["param"]) == (404, "deployment_not_found", "model")


async def test_info_is_about_the_default_deployment(serve: Serve, backend: FakeBackend, http: aiohttp.ClientSession) -> None:
    answer = await get(serve, backend, http, "/info?api-version=2024-05-01-preview", **{"api-key": "key-all"})
    assert answer == (
        200,
        {"model_name": "Meta-Llama", "model_type": "chat_completion", "model_provider_name": "Meta AI"},
    )


async def test_info_is_about_the_deployment_that_a_header_names(
    serve: Serve, backend: FakeBackend, http: aiohttp.ClientSession
) -> None:
    headers = {"api-key": "key-some", "azureml-model-deployment": "small"}
    answer = await get(serve, backend, http, "/info", **headers)
    assert answer == (200, {"model_name": "small", "model_type": "embeddings", "model_provider_name": "unknown"})


async def test_info_about_a_deployment_that_is_not_open_is_404(
    serve: Serve, backend: FakeBackend, http: aiohttp.ClientSession
) -> None:
    status, answer = await get(serve, backend, http, "/info", **{"api-key": "key-some"})
    assert (status, answer["error"]["code"]) == (404, "deployment_not_found")


@pytest.mark.parametrize("path", ["/v1/models", "/openai/v1/models", "/v1/models/small", "/info"])
async def test_who_has_no_key_is_told_nothing(
    serve: Serve, backend: FakeBackend, http: aiohttp.ClientSession, path: str
) -> None:
    status, answer = await get(serve, backend, http, path)
    assert (status, answer["error"]["code"]) == (401, "invalid_api_key")
