"""Who may call, and which deployment is meant."""

from __future__ import annotations

import hashlib
import json

import aiohttp
import pytest

from safety_proxy.testing import Answer, FakeBackend
from tests.server.conftest import HARM, Serve
from tests.server.wire import asks, post, whole


def digest(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


CONFIG = f"""
backends: {{one: {{url: 'BACKEND', key: backend-key}}}}
deployments:
  llama: {{backend: one, model: Meta-Llama, policy: test}}
  plain: {{backend: one, policy: test}}
  raw: {{backend: one, policy: off}}
default_deployment: plain
keys:
  - {{name: all, sha256: "{digest("key-all")}"}}
  - {{name: some, sha256: "{digest("key-some")}", deployments: [llama, raw]}}
  - {{name: tight, sha256: "{digest("key-tight")}", deployments: [raw], policy: test}}
"""


async def call(
    serve: Serve, backend: FakeBackend, http: aiohttp.ClientSession, model: str | None, **headers: str
) -> tuple[int, object]:
    backend.answer = Answer.json(whole("Hi"))
    body = asks()
    body["model"] = model
    async with (
        serve(backend, config=CONFIG, flags={}) as url,
        http.post(f"{url}/v1/chat/completions", json=body, headers=headers) as response,
    ):
        answer = await response.json()
        return response.status, answer["error"]["code"] if response.status != 200 else backend.requests[-1].body.get("model")


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": "Bearer key-all"},
        {"Authorization": "bearer key-all"},
        {"Authorization": "key-all"},
        {"api-key": "key-all"},
    ],
)
async def test_a_key_may_come_in_any_usual_header(
    serve: Serve, backend: FakeBackend, http: aiohttp.ClientSession, headers: dict[str, str]
) -> None:
    assert await call(serve, backend, http, "llama", **headers) == (200, "Meta-Llama")


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"api-key": "key-al"},
        {"Authorization": "Bearer "},
        {"Authorization": "Basic key-all x"},
        {"Ocp-Apim-Subscription-Key": "key-all"},
        {"x-api-key": "key-all"},
    ],
)
async def test_without_a_valid_key_nobody_is_asked(
    serve: Serve, backend: FakeBackend, http: aiohttp.ClientSession, headers: dict[str, str]
) -> None:
    assert await call(serve, backend, http, "llama", **headers) == (401, "invalid_api_key")
    assert backend.requests == []


@pytest.mark.parametrize(
    ("model", "key", "outcome"),
    [
        ("plain", "key-all", (200, "plain")),
        ("anything", "key-all", (200, "anything")),
        (None, "key-all", (200, None)),
        ("raw", "key-all", (404, "deployment_not_found")),
        ("raw", "key-some", (200, "raw")),
        ("plain", "key-some", (404, "deployment_not_found")),
        (None, "key-some", (404, "deployment_not_found")),
    ],
)
async def test_a_client_chooses_only_among_its_keys_deployments(
    serve: Serve, backend: FakeBackend, http: aiohttp.ClientSession, model: str | None, key: str, outcome: tuple[int, object]
) -> None:
    assert await call(serve, backend, http, model, **{"api-key": key}) == outcome


@pytest.mark.parametrize(("name", "outcome"), [("llama", (200, "Meta-Llama")), ("none", (404, "deployment_not_found"))])
async def test_the_header_beats_the_model(
    serve: Serve, backend: FakeBackend, http: aiohttp.ClientSession, name: str, outcome: tuple[int, object]
) -> None:
    headers = {"api-key": "key-all", "azureml-model-deployment": name}

    assert await call(serve, backend, http, "plain", **headers) == outcome


PATHS = "/openai/deployments/{}/chat/completions"


@pytest.mark.parametrize(
    ("path", "header", "outcome"),
    [
        (PATHS.format("llama"), None, (200, "Meta-Llama")),
        (PATHS.format("plain"), None, (200, "anything")),
        (PATHS.format("plain"), "llama", (200, "Meta-Llama")),
        (PATHS.format("none"), "llama", (404, "deployment")),
        (PATHS.format("none"), None, (404, "deployment")),
        (PATHS.format("raw"), None, (404, "deployment")),
        (PATHS.format("llama"), "none", (404, "azureml-model-deployment")),
        ("/openai/v1/chat/completions", None, (200, "anything")),
    ],
)
async def test_the_path_beats_the_model_and_the_header_beats_the_path(
    serve: Serve,
    backend: FakeBackend,
    http: aiohttp.ClientSession,
    path: str,
    header: str | None,
    outcome: tuple[int, str],
) -> None:
    backend.answer = Answer.json(whole("Hi"))
    headers = {"api-key": "key-all"} | ({"azureml-model-deployment": header} if header else {})
    async with serve(backend, config=CONFIG, flags={}) as url:
        status, body = await post(http, url, {**asks(), "model": "anything"}, path, **headers)

    said = backend.requests[-1].body["model"] if status == 200 else json.loads(body)["error"]["param"]
    assert (status, said) == outcome


async def test_a_keys_policy_holds_even_where_the_deployment_opted_out(
    serve: Serve, backend: FakeBackend, http: aiohttp.ClientSession
) -> None:
    async with (
        serve(backend, config=CONFIG, flags={}) as url,
        http.post(
            f"{url}/v1/chat/completions", json={**asks(HARM), "model": "raw"}, headers={"api-key": "key-tight"}
        ) as response,
    ):
        body = await response.read()

    assert response.status == 400
    assert json.loads(body)["error"]["code"] == "content_filter"
