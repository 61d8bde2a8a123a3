"""The demo's model answers by its script, in both dialects, streamed or whole."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

import aiohttp
import pytest

from safety_proxy.demo_backend import OFFENCE, SCRIPT, answer_to, create_backend, main
from safety_proxy.server.run import running
from tests.server.wire import received


@pytest.fixture(name="url")
async def _url() -> AsyncIterator[str]:
    async with running(create_backend()) as url:
        yield url


async def ask(url: str, path: str, body: object) -> bytes:
    async with aiohttp.ClientSession() as session, session.post(url + path, json=body) as response:
        assert response.status == 200
        return await response.read()


CHAT = {"messages": [{"role": "user", "content": "Tell me about the Moon"}]}
TEXT = {"prompt": "a VILLAIN, please"}


@pytest.mark.parametrize(
    ("path", "body", "word"), [("/v1/chat/completions", CHAT, "moon"), ("/v1/completions", TEXT, "villain")]
)
async def test_the_words_of_a_request_choose_the_answer(url: str, path: str, body: dict[str, object], word: str) -> None:
    [choice] = json.loads(await ask(url, path, body))["choices"]
    events = received(await ask(url, path, {**body, "stream": True}))
    pieces = [event["choices"][0].get("text") or event["choices"][0].get("delta", {}).get("content", "") for event in events]

    assert choice.get("text", choice.get("message", {}).get("content")) == SCRIPT[word]
    assert "".join(pieces) == SCRIPT[word]
    assert events[-1]["choices"][0]["finish_reason"] == choice["finish_reason"] == "stop"


def test_the_villain_says_what_the_tour_looks_for_within_the_default_holdback() -> None:
    assert OFFENCE in SCRIPT["villain"]
    assert len(OFFENCE) <= 50


@pytest.mark.parametrize("body", [{}, {"messages": []}, {"prompt": "something else"}])
def test_anything_else_gets_a_hint(body: dict[str, object]) -> None:
    assert "scripted model" in answer_to(body)  # type: ignore[arg-type]  # JSON of any kind


def test_alone_it_listens_where_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[dict[str, object]] = []
    monkeypatch.setattr("sys.argv", ["demo_backend", "--host", "0.0.0.0", "--port", "8017"])
    monkeypatch.setattr("safety_proxy.demo_backend.web.run_app", lambda _, **options: asked.append(options))
    main()

    assert [(options["host"], options["port"]) for options in asked] == [("0.0.0.0", 8017)]
