"""Answers that are not streamed: the same decisions, choice by choice."""

from __future__ import annotations

import json

import aiohttp
import pytest

from safety_proxy.testing import Answer, FakeBackend
from tests.server.conftest import HARM, OUTAGE, Serve
from tests.server.wire import SAFE, Event, asks, finishes, plain, post, received, stream, whole, words


async def test_a_safe_answer_arrives_as_it_was_sent(serve: Serve, backend: FakeBackend, http: aiohttp.ClientSession) -> None:
    backend.answer = Answer.json(whole(SAFE, system_fingerprint="fp", timings={"prompt_ms": 1.5}))
    async with serve(backend) as url:
        status, body = await post(http, url, asks())

    assert status == 200
    assert plain([json.loads(body)]) == [whole(SAFE, system_fingerprint="fp", timings={"prompt_ms": 1.5})]


async def test_blank_lines_before_an_answer_do_no_harm(
    serve: Serve, backend: FakeBackend, http: aiohttp.ClientSession
) -> None:
    backend.answer = Answer([b"\n\n\n", json.dumps(whole("Hi")).encode()], headers={"Content-Type": "application/json"})
    async with serve(backend) as url:
        assert (await post(http, url, asks()))[0] == 200


async def test_a_filtered_choice_is_empty_and_others_are_untouched(
    serve: Serve, backend: FakeBackend, http: aiohttp.ClientSession
) -> None:
    backend.answer = Answer.json(whole(SAFE[:300] + HARM, "Hi", OUTAGE))
    async with serve(backend) as url:
        _, body = await post(http, url, asks(n=3))
    filtered, fine, failed = json.loads(body)["choices"]

    assert (filtered["finish_reason"], filtered["message"]["content"]) == ("content_filter", None)
    assert filtered["content_filter_results"]["violence"] == {"filtered": True, "severity": "high"}
    assert (fine["finish_reason"], fine["message"]["content"]) == ("stop", "Hi")
    assert (failed["finish_reason"], failed["message"]["content"]) == ("content_filter_error", None)
    assert SAFE[:40].encode() not in body


@pytest.mark.parametrize("place", range(0, 400, 37))
async def test_streamed_or_not_the_decision_is_the_same(
    serve: Serve, backend: FakeBackend, http: aiohttp.ClientSession, place: int
) -> None:
    text = SAFE[:place] + HARM + SAFE[place:]
    async with serve(backend) as url:
        backend.answer = Answer.stream(*words(text, size=11))
        streamed = finishes(await stream(http, url))
        backend.answer = Answer.json(whole(text))
        _, body = await post(http, url, asks())

    assert streamed == {0: [json.loads(body)["choices"][0]["finish_reason"]]} == {0: ["content_filter"]}


async def test_text_completions_are_moderated_likewise(
    serve: Serve, backend: FakeBackend, http: aiohttp.ClientSession
) -> None:
    head: Event = {"id": "c", "object": "text_completion", "created": 1, "model": "m"}
    fine: Event = {"index": 0, "text": SAFE, "logprobs": None, "finish_reason": "stop"}
    bad: Event = {
        "index": 1,
        "text": HARM,
        "logprobs": {"tokens": [HARM], "token_logprobs": [-1.0]},
        "finish_reason": "stop",
    }
    request = {"prompt": ["one", "two"], "model": "m"}
    async with serve(backend) as url:
        backend.answer = Answer.json({**head, "choices": [fine, bad]})
        _, body = await post(http, url, request, "/v1/completions")
        backend.answer = Answer.stream({**head, "choices": [fine]}, {**head, "choices": [bad]})
        _, streamed = await post(http, url, {**request, "stream": True}, "/completions")

    choices = json.loads(body)["choices"]
    assert [choice["finish_reason"] for choice in choices] == ["stop", "content_filter"]
    assert [choice["text"] for choice in choices] == [SAFE, ""]
    assert finishes(received(streamed)) == {0: ["stop"], 1: ["content_filter"]}
    assert HARM.encode() not in body + streamed
