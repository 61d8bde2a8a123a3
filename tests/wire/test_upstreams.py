"""Backends differ: each of their habits arrives as clients expect it, safe text whole and harm withheld.

The streams are written after what the servers send (vLLM, llama.cpp, TGI, DeepSeek, OpenRouter, Ollama, Azure, the
serverless Llama API), shortened.
"""

from __future__ import annotations

import json

import aiohttp
import pytest

from safety_proxy.testing import Answer, FakeBackend
from tests.server.conftest import HARM, Serve
from tests.server.wire import CHAT, Event, asks, content, event, finishes, plain, received, whole

USAGE = {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7}


def sse(*events: Event) -> bytes:
    return b"".join(b"data: " + json.dumps(each).encode() + b"\n\n" for each in events)


async def stream(
    serve: Serve, backend: FakeBackend, http: aiohttp.ClientSession, *pieces: bytes, **asked: object
) -> list[Event]:
    backend.answer = Answer(pieces)
    async with serve(backend) as url, http.post(url + CHAT, json={**asks(stream=True), **asked}) as response:
        return received(await response.read())


@pytest.mark.parametrize("key", ["reasoning_content", "reasoning"])
async def test_reasoning_under_either_name_arrives_and_is_judged(
    serve: Serve, backend: FakeBackend, http: aiohttp.ClientSession, key: str
) -> None:
    thinking, answer = (
        [event({key: "Let me think. "}), event({key: "Yes. "})],
        [event({"content": "It is so."}), event({}, "stop")],
    )
    fine = await stream(serve, backend, http, sse(*thinking, *answer), b"data: [DONE]\n\n")
    bad = await stream(serve, backend, http, sse(*thinking, event({key: HARM}), *answer), b"data: [DONE]\n\n")

    assert plain(fine) == [*thinking, *answer]
    assert finishes(bad) == {0: ["content_filter"]}
    assert HARM not in content(bad, key=key)


async def test_vllm_sends_the_same_reasoning_under_both_names(
    serve: Serve, backend: FakeBackend, http: aiohttp.ClientSession
) -> None:
    sent = [event({"reasoning": t, "reasoning_content": t}) for t in ("I ", "see")] + [event({}, "stop", stop_reason=None)]

    assert plain(await stream(serve, backend, http, sse(*sent), b"data: [DONE]\n\n")) == sent


async def test_usage_in_every_chunk(serve: Serve, backend: FakeBackend, http: aiohttp.ClientSession) -> None:
    """As with vLLM's ``continuous_usage_stats``."""
    sent = [event({"content": t}, usage={**USAGE, "completion_tokens": i}) for i, t in enumerate(("Hel", "lo"))]
    sent += [event({}, "stop", usage=USAGE), {**event({}), "choices": [], "usage": USAGE}]

    assert (
        plain(await stream(serve, backend, http, sse(*sent), b"data: [DONE]\n\n", stream_options={"include_usage": True}))
        == sent
    )


async def test_usage_in_the_finish_chunk_and_no_done(
    serve: Serve, backend: FakeBackend, http: aiohttp.ClientSession
) -> None:
    """DeepSeek and the serverless endpoints; and Azure's habit of closing without a word."""
    sent = [event({"content": "Hello"}), event({}, "stop", usage=USAGE)]

    assert plain(await stream(serve, backend, http, sse(*sent))) == sent


async def test_usage_of_a_filtered_finish_chunk_is_told_when_asked_for(
    serve: Serve, backend: FakeBackend, http: aiohttp.ClientSession
) -> None:
    sent = sse(event({"content": HARM}), event({}, "stop", usage=USAGE))
    events = await stream(serve, backend, http, sent, b"data: [DONE]\n\n", stream_options={"include_usage": True})

    assert finishes(events) == {0: ["content_filter"]}
    assert [e["usage"] for e in events if e.get("usage")] == [USAGE]


async def test_tool_calls_whole_or_in_fragments_arrive_at_the_end_as_they_were_sent(
    serve: Serve, backend: FakeBackend, http: aiohttp.ClientSession
) -> None:
    def call(**function: str) -> Event:
        return {"tool_calls": [{"index": 0, "id": "call_1", "type": "function", "function": function}]}

    whole_call = [event(call(name="f", arguments='{"a": 1}')), event({}, "tool_calls")]
    pieces = [
        call(name="f", arguments=""),
        *({"tool_calls": [{"index": 0, "function": {"arguments": p}}]} for p in ('{"a"', ": 1}")),
    ]
    fragments = [event({"role": "assistant", "content": None}), *map(event, pieces), event({}, "tool_calls")]
    for sent in (whole_call, fragments):
        assert plain(await stream(serve, backend, http, sse(*sent), b"data: [DONE]\n\n")) == sent


async def test_keep_alives_of_deepseek_and_openrouter_stay_behind(
    serve: Serve, backend: FakeBackend, http: aiohttp.ClientSession
) -> None:
    sent = [event({"content": "Hi"}), event({}, "stop")]
    pieces = (
        b": OPENROUTER PROCESSING\n\n",
        sse(sent[0]),
        b": keep-alive\n\n: keep-alive\n\n",
        sse(sent[1]),
        b"data: [DONE]\n\n",
    )

    assert plain(await stream(serve, backend, http, *pieces)) == sent


async def test_an_empty_finish_reason_means_that_the_choice_goes_on(
    serve: Serve, backend: FakeBackend, http: aiohttp.ClientSession
) -> None:
    """Ollama."""
    sent = [event({"content": "Hi"}, ""), event({}, "stop")]

    assert plain(await stream(serve, backend, http, sse(*sent), b"data: [DONE]\n\n")) == sent


async def test_the_first_chunk_of_azure_has_no_choice(
    serve: Serve, backend: FakeBackend, http: aiohttp.ClientSession
) -> None:
    results = {"prompt_index": 0, "content_filter_results": {"hate": {"filtered": False, "severity": "safe"}}}
    first: Event = {"choices": [], "created": 0, "id": "", "model": "", "object": "", "prompt_filter_results": [results]}
    sent = [event({"content": "Hi"}), event({}, "stop")]
    events = await stream(serve, backend, http, sse(first, *sent), b"data: [DONE]\n\n")

    assert events[0] == first
    assert plain(events[1:]) == sent


async def test_a_content_filter_of_the_backends_own_is_kept(
    serve: Serve, backend: FakeBackend, http: aiohttp.ClientSession
) -> None:
    ended = event({}, "content_filter")
    ended["choices"][0]["content_filter_results"] = {"profanity": {"filtered": True, "detected": True}}
    events = await stream(serve, backend, http, sse(event({"content": "Hi"}), ended))

    assert finishes(events) == {0: ["content_filter"]}
    assert events[-1]["choices"][0]["content_filter_results"]["profanity"] == {"filtered": True, "detected": True}


ERRORS = {
    "vLLM": sse({"error": {"message": "secret", "type": "InternalServerError", "param": None, "code": 500}}),
    "llama.cpp, older": b'error: {"code":500,"message":"secret","type":"server_error"}\n\n',
    "llama.cpp": sse({"error": {"code": 500, "message": "secret", "type": "server_error"}}),
    "TGI": sse({"error": {"message": "secret", "http_status_code": 500}}),
    "OpenRouter": sse({**event({}), "error": {"code": 502, "message": "secret"}}),
    "LM Studio": b"event: error\n" + sse({"error": {"message": "secret"}, "message": "secret"}),
    "vLLM, older": sse({"object": "error", "message": "secret", "type": "BadRequestError", "param": None, "code": 400}),
}


@pytest.mark.parametrize("server", ERRORS)
async def test_errors_in_mid_stream_are_told_in_our_words(
    serve: Serve, backend: FakeBackend, http: aiohttp.ClientSession, server: str
) -> None:
    events = await stream(serve, backend, http, sse(event({"content": "Hi"})), ERRORS[server], b"data: [DONE]\n\n")

    assert content(events) == "Hi"
    assert finishes(events) == {0: ["error"]}
    assert events[-1]["error"]["type"] == "server_error"
    assert "secret" not in json.dumps(events)


async def test_padding_against_eavesdroppers_is_dropped(
    serve: Serve, backend: FakeBackend, http: aiohttp.ClientSession
) -> None:
    """OpenAI's ``obfuscation``: it would no longer fit the sizes of our events."""
    events = await stream(serve, backend, http, sse(event({"content": "Hi"}, obfuscation="x9Q"), event({}, "stop")))

    assert plain(events) == [event({"content": "Hi"}), event({}, "stop")]


async def test_choices_out_of_order_keep_their_indices(
    serve: Serve, backend: FakeBackend, http: aiohttp.ClientSession
) -> None:
    answer = whole("zero", "one", "two")
    answer["choices"] = [answer["choices"][i] for i in (2, 0, 1)]
    backend.answer = Answer.json(answer)
    async with serve(backend) as url, http.post(url + CHAT, json=asks(n=3)) as response:
        choices = (await response.json())["choices"]

    assert {choice["index"]: choice["message"]["content"] for choice in choices} == {0: "zero", 1: "one", 2: "two"}
