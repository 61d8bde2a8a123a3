"""A policy with ``mode: asynchronous`` over real sockets: text at once, decisions behind it."""

from __future__ import annotations

import asyncio
import hashlib
from typing import Any

import aiohttp
import pytest

from safety_proxy.testing import Answer, FakeBackend
from tests.server.conftest import HARM, OUTAGE, Serve, scripted
from tests.server.wire import CHAT, SAFE, Event, asks, content, event, finishes, plain, post, received, stream, whole, words

TWO_WINDOWS = 240
PROMPTS_UNJUDGED = """
  {hate: off, sexual: off, violence: off, self_harm: off, jailbreak: off, indirect_attack: off,
   blocklists: [{name: house, terms: [swordfish]}]}
"""


def policy(output: str = "", rest: str = "", prompts: str = "{}") -> str:
    head = f"version: 1\nname: test\nclassifiers: [embedded]\ninput: {prompts}\n"
    return f"{head}output: {{{output}stream: {{mode: asynchronous}}}}\n{rest}"


def offsets(events: list[Event], index: int = 0) -> list[dict[str, int]]:
    choices = [choice for each in events for choice in each["choices"] if choice["index"] == index]
    return [choice["content_filter_offsets"] for choice in choices if "content_filter_offsets" in choice]


def results(events: list[Event]) -> list[Any]:
    choices = [choice for each in events for choice in each["choices"]]
    return [choice["content_filter_results"] for choice in choices if "content_filter_results" in choice]


def apart(event: Event) -> bool:
    return any("content_filter_offsets" in choice for choice in event["choices"])


async def test_a_safe_stream_arrives_as_it_was_sent_with_annotations_between(
    serve: Serve, backend: FakeBackend, http: aiohttp.ClientSession
) -> None:
    usage = {**event({}), "choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}}
    sent = [*words(SAFE), usage]
    backend.answer = Answer.stream(*sent)
    async with serve(backend, policy=policy()) as url:
        events = await stream(http, url, stream_options={"include_usage": True})
    told = offsets(events)

    assert plain(each for each in events if not apart(each)) == sent
    assert events[0]["prompt_filter_results"][0]["content_filter_results"]["hate"] == {"filtered": False, "severity": "safe"}
    assert all(each["choices"][0]["delta"] == {} for each in events if apart(each))
    assert [each["start_offset"] for each in told[1:]] == [each["end_offset"] for each in told[:-1]]
    assert told[-1]["end_offset"] - told[0]["start_offset"] == len(SAFE)
    assert results(events)[0]["violence"] == {"filtered": False, "severity": "safe"}
    assert len(results(events)) == len(told)


async def test_offsets_begin_behind_the_prompt(serve: Serve, backend: FakeBackend, http: aiohttp.ClientSession) -> None:
    backend.answer = Answer.stream(*words("Hi"))
    async with serve(backend, policy=policy()) as url:
        one = offsets(await stream(http, url))
        other = offsets(await stream(http, url, messages=[{"role": "user", "content": "hello\U0001f319"}]))

    assert one == [{"check_offset": 5, "start_offset": 5, "end_offset": 7}]
    assert other == [{"check_offset": 6, "start_offset": 6, "end_offset": 8}]


async def test_text_is_sent_while_its_verdict_is_still_out(
    serve: Serve, backend: FakeBackend, http: aiohttp.ClientSession
) -> None:
    gate = asyncio.Event()
    text = words(SAFE[:150])
    backend.answer = Answer.stream(*text)
    async with (
        serve(backend, policy=policy(prompts=PROMPTS_UNJUDGED), classifier=scripted(gate=gate)) as url,
        http.post(url + CHAT, json=asks(stream=True)) as response,
    ):
        assert response.headers["x-safety-proxy-mode"] == "asynchronous"
        seen = b""
        while seen.count(b"data: ") < len(text) - 1:
            seen += await response.content.readany()
        assert b'"stop"' not in seen
        gate.set()
        events = received(seen + await response.content.read())

    assert content(events) == SAFE[:150]
    assert finishes(events) == {0: ["stop"]}


@pytest.mark.parametrize("size", [1, 7, 1000])
@pytest.mark.parametrize("place", [0, 75, 333])
async def test_a_violation_is_told_within_two_windows_and_names_only_what_led_to_it(
    serve: Serve, backend: FakeBackend, http: aiohttp.ClientSession, size: int, place: int
) -> None:
    backend.answer = Answer.stream(*words(SAFE[:place] + HARM + SAFE, size=size))
    async with serve(backend, policy=policy()) as url:
        events = await stream(http, url)
    base, end = len("hello"), offsets(events)[-1]

    assert finishes(events) == {0: ["content_filter"]}
    assert apart(events[-1])
    assert results(events)[-1] == {"violence": {"filtered": True, "severity": "high"}}
    assert end["start_offset"] <= base + place < base + place + len(HARM) <= end["end_offset"]
    assert len(content(events)) <= place + len(HARM) + TWO_WINDOWS + size
    assert (SAFE[:place] + HARM + SAFE).startswith(content(events))


@pytest.mark.parametrize(("on_error", "end"), [("block", "content_filter_error"), ("allow", "stop")])
async def test_without_a_verdict_the_policy_decides(
    serve: Serve, backend: FakeBackend, http: aiohttp.ClientSession, on_error: str, end: str
) -> None:
    backend.answer = Answer.stream(*words(OUTAGE))
    async with serve(backend, policy=policy(f"on_error: {on_error}, ")) as url:
        events = await stream(http, url)

    assert finishes(events) == {0: [end]}
    assert [list(found) for found in results(events)] == [["error"]]
    assert content(events) == OUTAGE


async def test_other_choices_go_on_and_usage_is_told_after_a_stop(
    serve: Serve, backend: FakeBackend, http: aiohttp.ClientSession
) -> None:
    both = zip(words(HARM + SAFE), words(SAFE + "!" * len(HARM), 1), strict=True)
    backend.answer = Answer.stream(*(each for pair in both for each in pair))
    async with serve(backend, policy=policy()) as url:
        events = await stream(http, url, n=2, stream_options={"include_usage": True})

    assert finishes(events) == {0: ["content_filter"], 1: ["stop"]}
    assert sum("usage" in each for each in events) == 1


async def test_a_backend_that_breaks_off_is_told_of_after_the_last_verdict(
    serve: Serve, backend: FakeBackend, http: aiohttp.ClientSession
) -> None:
    backend.answer = Answer.stream(*words(SAFE)[:50], done=False)
    async with serve(backend, policy=policy()) as url:
        events = await stream(http, url)

    assert "error" in events[-1]
    assert finishes(events) == {0: ["error"]}
    assert offsets(events)[-1]["end_offset"] - offsets(events)[0]["start_offset"] == len(content(events))


async def test_without_annotations_only_the_end_is_told(
    serve: Serve, backend: FakeBackend, http: aiohttp.ClientSession
) -> None:
    backend.answer = Answer.stream(*words(SAFE + HARM))
    async with serve(backend, policy=policy("", "annotations: false\n")) as url:
        events = await stream(http, url)

    assert finishes(events) == {0: ["content_filter"]}
    assert not offsets(events)
    assert not results(events)


async def test_an_answer_that_is_not_streamed_is_judged_first(
    serve: Serve, backend: FakeBackend, http: aiohttp.ClientSession
) -> None:
    backend.answer = Answer.json(whole("Hi", HARM))
    async with serve(backend, policy=policy()) as url:
        status, body = await post(http, url, asks(n=2))
        streamed = await stream(http, url, n=2)

    assert status == 200
    assert HARM.encode() not in body
    assert finishes(streamed) == {0: ["stop"], 1: ["content_filter"]}
    assert content(streamed, 1) == ""


async def test_a_key_with_a_buffered_policy_is_served_by_the_law(
    serve: Serve, backend: FakeBackend, http: aiohttp.ClientSession
) -> None:
    key = hashlib.sha256(b"key").hexdigest()
    config = f"""
backends: {{one: {{url: 'BACKEND'}}}}
deployments: {{m: {{backend: one, policy: test}}}}
keys: [{{name: careful, sha256: "{key}", policy: strict}}]
"""
    backend.answer = Answer.stream(*words(HARM))
    async with (
        serve(backend, policy=policy(), config=config, flags={}) as url,
        http.post(url + CHAT, json=asks(stream=True), headers={"api-key": "key"}) as response,
    ):
        events = received(await response.read())

    assert response.headers["x-safety-proxy-mode"] == "buffered"
    assert (content(events), finishes(events)) == ("", {0: ["content_filter"]})
