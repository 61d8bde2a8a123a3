"""The description is valid OpenAPI, tells of every route and no other, and is served to everybody."""

from __future__ import annotations

import json
import re
from typing import Any

import aiohttp
import openapi_spec_validator
import pytest

from safety_proxy import __version__
from safety_proxy.server.app import create_app
from safety_proxy.server.openapi import describe
from safety_proxy.settings import load_settings
from safety_proxy.testing import FakeBackend, ScriptedClassifier
from tests.server.conftest import Serve

DOCUMENT: dict[str, Any] = json.loads(describe(keys=True, metrics_key=True))
OPERATIONS = [(path, method, operation) for path, item in DOCUMENT["paths"].items() for method, operation in item.items()]


@pytest.mark.parametrize("keys", [True, False])
def test_it_is_valid_openapi(keys: bool) -> None:
    document = json.loads(describe(keys=keys))
    openapi_spec_validator.validate(document, cls=openapi_spec_validator.OpenAPIV31SpecValidator)
    assert (document["openapi"], document["info"]["version"]) == ("3.1.0", __version__)


def test_it_tells_of_every_route_and_no_other() -> None:
    settings = load_settings(config=None, flags={"backend": "http://127.0.0.1:9"}, environ={})
    app = create_app(settings, classifiers={"embedded": ScriptedClassifier()})
    served = {
        (route.resource.canonical, route.method.lower()) for route in app.router.routes() if route.resource is not None
    }
    assert {(path, method) for path, method, _ in OPERATIONS} == served


def test_every_operation_has_an_id_of_its_own() -> None:
    ids = [operation["operationId"] for _, _, operation in OPERATIONS]
    assert len(set(ids)) == len(ids)


def test_every_reference_leads_somewhere_and_nothing_is_left_over() -> None:
    named = set(re.findall(r'"#/components/(\w+/[\w.-]+)"', json.dumps(DOCUMENT)))
    components = DOCUMENT["components"]
    there = {f"{kind}/{name}" for kind in ("schemas", "parameters", "headers", "responses") for name in components[kind]}
    assert named == there


@pytest.mark.parametrize("status", [400, 401, 405, 413, 415, 500, 503])
def test_every_route_of_the_filtering_service_has_its_errors(status: int) -> None:
    service = ("/contentsafety", "/v1/moderations", "/v1/policy", "/integrations")
    routes = [(path, operation) for path, _, operation in OPERATIONS if path.startswith(service)]
    assert len(routes) > 14
    shapes = {path.startswith("/contentsafety"): operation["responses"][str(status)]["$ref"] for path, operation in routes}
    assert shapes == {
        True: f"#/components/responses/{status}-ContentSafetyError",
        False: f"#/components/responses/{status}",
    }


@pytest.mark.parametrize("status", [400, 401, 404, 405, 413, 415, 429, 502, 503, 504])
def test_every_model_route_has_its_errors(status: int) -> None:
    posts = [operation for path, _, operation in OPERATIONS if path.endswith(("completions", "embeddings"))]
    assert posts
    assert all(str(status) in operation["responses"] for operation in posts)


def test_whoever_needs_a_key_is_told_so_and_nobody_else() -> None:
    secured = {path for path, _, operation in OPERATIONS if operation["security"]}
    assert {path for path, _, _ in OPERATIONS} - secured == {"/healthz", "/readyz", "/openapi.json"}
    assert not any(op["security"] for item in json.loads(describe(keys=False))["paths"].values() for op in item.values())


def test_completions_may_be_streamed_and_embeddings_may_not() -> None:
    streamed = {
        path
        for path, _, operation in OPERATIONS
        if "text/event-stream" in operation["responses"].get("200", {}).get("content", {})
    }
    assert streamed == {path for path in DOCUMENT["paths"] if path.endswith("completions")}


async def test_it_is_served_without_a_key_and_tells_nothing_of_the_configuration(
    serve: Serve, backend: FakeBackend, http: aiohttp.ClientSession
) -> None:
    config = (
        "backends: {hidden: {url: 'BACKEND'}}\ndeployments: {secret-name: {backend: hidden, policy: test}}\n"
        f'keys: [{{name: team, sha256: "{"0" * 64}"}}]\n'
    )
    async with serve(backend, config=config, flags={}) as url, http.get(f"{url}/openapi.json") as response:
        body = await response.read()
        assert (response.status, response.content_type) == (200, "application/json")

    assert body == describe(keys=True)
    assert b"secret-name" not in body


def test_whoever_reads_metrics_needs_the_key_that_the_configuration_names_and_no_other() -> None:
    def needed(**keys: bool) -> object:
        return json.loads(describe(**keys))["paths"]["/metrics"]["get"]["security"]

    assert needed(keys=True) == needed(keys=False) == []
    assert needed(keys=False, metrics_key=True) == [{"bearer": []}, {"api-key": []}]
