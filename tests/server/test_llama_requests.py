"""Requests of the serverless Llama API through a running proxy: its examples arrive unchanged, its rules hold."""

from __future__ import annotations

import json

import aiohttp
import pytest

from safety_proxy.testing import Answer, FakeBackend
from tests.server.conftest import Serve
from tests.server.wire import Event, post, whole

CHAT_ROUTES = ["/v1/chat/completions", "/chat/completions"]
TEXT_ROUTES = ["/v1/completions", "/completions"]
ROUTES = [*CHAT_ROUTES, *TEXT_ROUTES]

SAMPLING: Event = {"temperature": 0.8, "max_tokens": 512}
TEXT_EXAMPLE: Event = {"prompt": "What's the distance to the moon?", **SAMPLING}
CHAT_EXAMPLE: Event = {
    "messages": [
        {"role": "system", "content": "You are a helpful assistant that translates English to Italian."},
        {"role": "user", "content": "Translate the following sentence from English to Italian: I love programming."},
    ],
    **SAMPLING,
}
EVERYTHING: Event = {
    "stream": False,
    "max_tokens": 512,
    "top_p": 0.9,
    "temperature": 0,
    "n": 2,
    "stop": ["END", "\n\n"],
    "best_of": 4,
    "logprobs": 10,
    "presence_penalty": -0.5,
    "ignore_eos": False,
    "use_beam_search": True,
    "stop_token_ids": [128001, 128009],
    "skip_special_tokens": True,
}
"""All parameters of the tables at once."""


def example_of(route: str) -> Event:
    return CHAT_EXAMPLE if route in CHAT_ROUTES else TEXT_EXAMPLE


def answer_of(route: str, choices: int = 1) -> Event:
    if route in CHAT_ROUTES:
        return whole(*["Hi"] * choices)
    listed = [{"index": i, "text": "Hi", "logprobs": None, "finish_reason": "stop"} for i in range(choices)]
    return {"id": "c", "object": "text_completion", "created": 1, "model": "m", "choices": listed}


@pytest.mark.parametrize("route", ROUTES)
async def test_the_examples_of_the_documentation_are_forwarded_unchanged(
    serve: Serve, backend: FakeBackend, http: aiohttp.ClientSession, route: str
) -> None:
    backend.answer = Answer.json(answer_of(route))
    async with serve(backend) as url:
        status, _ = await post(http, url, example_of(route), route)

    [asked] = backend.requests
    assert (status, asked.body) == (200, example_of(route))
    assert asked.path == ("/v1/chat/completions" if route in CHAT_ROUTES else "/v1/completions")


@pytest.mark.parametrize("route", ROUTES)
async def test_every_parameter_at_once_is_forwarded_unchanged(
    serve: Serve, backend: FakeBackend, http: aiohttp.ClientSession, route: str
) -> None:
    backend.answer = Answer.json(answer_of(route, 2))
    async with serve(backend) as url:
        status, _ = await post(http, url, example_of(route) | EVERYTHING, route)

    [asked] = backend.requests
    assert (status, asked.body) == (200, example_of(route) | EVERYTHING)


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"temperature": 2.5}, "temperature"),
        ({"top_p": 1.5}, "top_p"),
        ({"presence_penalty": -3}, "presence_penalty"),
        ({"n": 2, "best_of": 2}, "best_of"),
        ({"best_of": 3, "stream": True}, "best_of"),
        ({"use_beam_search": True}, "use_beam_search"),
        ({"stop_token_ids": [1, "2"]}, "stop_token_ids[1]"),
    ],
)
async def test_a_parameter_that_breaks_a_rule_is_a_400_that_names_it(
    serve: Serve, backend: FakeBackend, http: aiohttp.ClientSession, route: str, fields: Event, field: str
) -> None:
    async with serve(backend) as url:
        status, body = await post(http, url, example_of(route) | fields, route)

    error = json.loads(body)["error"]
    assert (status, error["type"], error["param"]) == (400, "invalid_request_error", field)
    assert field in error["message"]
    assert backend.requests == []


@pytest.mark.parametrize("route", ROUTES)
async def test_what_is_required_is_asked_for_by_name(
    serve: Serve, backend: FakeBackend, http: aiohttp.ClientSession, route: str
) -> None:
    async with serve(backend) as url:
        status, body = await post(http, url, SAMPLING, route)

    assert (status, json.loads(body)["error"]["param"]) == (400, "messages" if route in CHAT_ROUTES else "prompt")
    assert backend.requests == []


@pytest.mark.parametrize("route", ROUTES)
async def test_an_example_with_its_trailing_comma_is_no_json_and_told_where(
    serve: Serve, backend: FakeBackend, http: aiohttp.ClientSession, route: str
) -> None:
    raw = json.dumps(example_of(route), indent=4).replace("512\n}", "512,\n}")
    async with serve(backend) as url, http.post(url + route, data=raw) as response:
        error = (await response.json())["error"]

    assert (response.status, error["code"]) == (400, "invalid_json")
    breaks = raw.count("\n")
    assert f"at line {breaks}, column" in error["message"]
