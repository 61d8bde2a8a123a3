"""docs/gateways.md: its examples can be read, and what it says of the webhook is true. LiteLLM is run by the slow tests."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, Final

import aiohttp
import pytest
from ruamel.yaml import YAML

from safety_proxy.server.litellm import PATH
from safety_proxy.testing import FakeBackend
from tests.server.conftest import HARM, OUTAGE, Serve, _backend, _http, _serve
from tests.server.wire import post

__all__ = ["_backend", "_http", "_serve"]

PAGE: Final = (Path(__file__).parents[1] / "docs" / "gateways.md").read_text(encoding="utf-8")
EXAMPLES: Final = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
WEBHOOK: Final = "/v1/policy/evaluate"
(CHAT,) = re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)


@pytest.mark.parametrize("example", EXAMPLES)
def test_every_example_is_yaml(example: str) -> None:
    assert YAML(typ="safe").load(example)


def test_litellm_appends_the_rest_of_the_route_to_its_address() -> None:
    (address,) = re.findall(r"api_base: http://127.0.0.1:8080(\S+)", PAGE)

    assert f"{address}/beta/litellm_basic_guardrail_api" == PATH


def test_every_gateway_that_was_not_run_says_so() -> None:
    sections = re.split(r"^## ", PAGE, flags=re.MULTILINE)[1:]
    not_run = {section.partition("\n")[0] for section in sections if "*Not run by us.*" in section}

    assert not_run == {"Kong", "APISIX", "Envoy"}
    assert all(section.count(WEBHOOK) == 1 for section in sections if section.partition("\n")[0] in not_run)


async def evaluated(url: str, http: aiohttp.ClientSession, **change: object) -> tuple[int, str, Any]:
    async with http.post(url + WEBHOOK, json={**json.loads(CHAT), **change}) as response:
        body = await response.json()
        return response.status, response.headers.get("x-safety-proxy-decision", ""), body.get("decision")


@pytest.mark.parametrize(("said", "decision"), [("hello", "allow"), (HARM, "block"), (OUTAGE, "error")])
async def test_the_webhook_takes_a_chat_as_it_is_and_decides_in_a_header_with_status_200(
    serve: Serve, backend: FakeBackend, http: aiohttp.ClientSession, said: str, decision: str
) -> None:
    message = {"role": "user", "content": said}
    async with serve(backend) as url:
        asked = await evaluated(url, http, messages=[message], tools=[], max_tokens=5)
        answered = await evaluated(url, http, completion=[{"role": "assistant", "content": said}])

    assert asked == answered == (200, decision, decision)
    assert backend.requests == []


async def test_a_webhook_without_a_body_is_no_status_200(
    serve: Serve, backend: FakeBackend, http: aiohttp.ClientSession
) -> None:
    async with serve(backend) as url, http.post(url + WEBHOOK, data=b"") as response:
        assert response.status == 400


async def test_the_service_is_served_beside_models(serve: Serve, backend: FakeBackend, http: aiohttp.ClientSession) -> None:
    async with serve(backend) as url:
        status, said = await post(http, url, {"input_type": "request", "texts": [HARM]}, PATH)

    assert (status, json.loads(said)["action"]) == (200, "BLOCKED")
