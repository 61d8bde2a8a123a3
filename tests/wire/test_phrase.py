"""The promise, over sockets: of a phrase up to ``holdback`` characters that the classifier flags, no character arrives.

In any channel, any choice, at any position, cut in any way, streamed or not.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from itertools import product

import aiohttp
import pytest

from safety_proxy.model import Category
from safety_proxy.testing import Answer, FakeBackend, ScriptedClassifier
from tests.server.conftest import Serve
from tests.server.wire import SAFE, Event, asks, event, finishes, received, whole

PHRASE = "".join(chr(0x400 + i) for i in range(50))
"""As long as the default holdback; each character occurs once, and in no other text here."""


def cut(text: str, size: int) -> list[str]:
    return [text[i : i + size] for i in range(0, len(text), size)]


def plain(key: str) -> Callable[[str], Event]:
    return lambda piece: {key: piece}


def call(piece: str) -> Event:
    return {"tool_calls": [{"index": 0, "id": "c1", "type": "function", "function": {"name": "f", "arguments": piece}}]}


def named(piece: str) -> Event:
    return {"tool_calls": [{"index": 0, "function": {"name": piece, "arguments": ""}}]}


def legacy(piece: str) -> Event:
    return {"function_call": {"name": "f", "arguments": piece}}


def speech(piece: str) -> Event:
    return {"audio": {"id": "a1", "transcript": piece, "data": base64.b64encode(piece.encode()).decode()}}


def parts(piece: str) -> Event:
    return {"content": [{"type": "text", "text": piece}]}


CHANNELS: dict[str, Callable[[str], Event]] = {
    **{key: plain(key) for key in ("content", "refusal", "reasoning_content", "reasoning")},
    "arguments": call,
    "name": named,
    "function_call": legacy,
    "transcript": speech,
    "parts": parts,
}


def stream_of(deltas: list[Event], index: int) -> list[Event]:
    return [
        event({"role": "assistant"}, index=index),
        *(event(d, index=index) for d in deltas),
        event({}, "stop", index=index),
    ]


def leaked(body: bytes) -> set[str]:
    """Characters of the phrase anywhere in what the client got: raw, unescaped, in byte arrays, in base64."""

    def readings(value: object) -> Iterator[str]:
        if isinstance(value, str):
            yield value
            try:
                yield base64.b64decode(value, validate=True).decode("utf-8", "ignore")
            except ValueError:
                return
        elif isinstance(value, list):
            if value and all(isinstance(element, int) and 0 <= element < 256 for element in value):
                yield bytes(value).decode("utf-8", "ignore")
            for element in value:
                yield from readings(element)
        elif isinstance(value, dict):
            for key, element in value.items():
                yield from readings(key)
                yield from readings(element)

    documents = received(body) if body.startswith(b"data: ") else [json.loads(body)]
    return set(PHRASE) & set("".join((body.decode(), *readings(documents))))


def classifier() -> ScriptedClassifier:
    return ScriptedClassifier({PHRASE: (Category.HATE, 6)})


SIZES, PLACES = (1, 3, 7, 1000), (0, 31, 79, 200)
CASES = list(product(SIZES, PLACES, (0, 1)))
"""Sizes of pieces, places of the phrase, choices."""


def some_cases(channel: str) -> list[tuple[int, int, int]]:
    """Each size and each place in each choice; with the next channel, each size at the other places."""
    number = list(CHANNELS).index(channel)
    return [
        (size, place, (i // 2 + j // 2 + number // 2) % 2)
        for (i, size), (j, place) in product(enumerate(SIZES), enumerate(PLACES))
        if (i + j + number) % 2 == 0
    ]


@pytest.mark.parametrize("every", [False, pytest.param(True, marks=pytest.mark.slow)])
@pytest.mark.parametrize("channel", CHANNELS)
async def test_streamed_in_any_channel_choice_position_and_cut(
    serve: Serve, backend: FakeBackend, http: aiohttp.ClientSession, channel: str, every: bool
) -> None:
    async with serve(backend, classifier=classifier()) as url:
        for size, place, index in CASES if every else some_cases(channel):
            text = SAFE[:place] + PHRASE + SAFE[place:]
            lanes = [stream_of([{"content": piece} for piece in cut(SAFE, 9)], 1 - index)]
            lanes.append(stream_of([CHANNELS[channel](piece) for piece in cut(text, size)], index))
            backend.answer = Answer.stream(*(e for lane in lanes for e in lane))
            async with http.post(f"{url}/v1/chat/completions", json=asks(stream=True, n=2)) as response:
                body = await response.read()

            assert leaked(body) == set(), (size, place, index)
            assert finishes(received(body)) == {index: ["content_filter"], 1 - index: ["stop"]}


@pytest.mark.parametrize("channel", CHANNELS)
@pytest.mark.parametrize("place", [0, 200])
async def test_not_streamed_in_any_channel(
    serve: Serve, backend: FakeBackend, http: aiohttp.ClientSession, channel: str, place: int
) -> None:
    answer = whole(SAFE, SAFE)
    answer["choices"][1]["message"] = {"role": "assistant", **CHANNELS[channel](SAFE[:place] + PHRASE + SAFE[place:])}
    backend.answer = Answer.json(answer)
    async with (
        serve(backend, classifier=classifier()) as url,
        http.post(f"{url}/v1/chat/completions", json=asks(n=2)) as response,
    ):
        body = await response.read()

    assert leaked(body) == set()
    choices = json.loads(body)["choices"]
    assert [choice["finish_reason"] for choice in choices] == ["stop", "content_filter"]
    assert choices[0]["message"]["content"] == SAFE


@pytest.mark.parametrize("streamed", [True, False])
async def test_escaped_in_the_arguments_of_a_tool_call(
    serve: Serve, backend: FakeBackend, http: aiohttp.ClientSession, streamed: bool
) -> None:
    arguments = json.dumps({"text": PHRASE})
    assert PHRASE not in arguments
    if streamed:
        backend.answer = Answer.stream(*stream_of([call(piece) for piece in cut(arguments, 5)], 0))
    else:
        answer = whole(None)
        answer["choices"][0]["message"].update(call(arguments))
        backend.answer = Answer.json(answer)
    async with (
        serve(backend, classifier=classifier()) as url,
        http.post(f"{url}/v1/chat/completions", json=asks(stream=streamed)) as response,
    ):
        body = await response.read()

    assert b"content_filter" in body
    assert b"\\u04" not in body


@pytest.mark.parametrize("where", ["token", "bytes", "top", "top bytes"])
async def test_in_logprobs_that_do_not_repeat_the_text(
    serve: Serve, backend: FakeBackend, http: aiohttp.ClientSession, where: str
) -> None:
    raw = list(PHRASE.encode())
    entry: Event = {"token": "Hi", "logprob": -1.0, "bytes": [72, 105], "top_logprobs": []}
    changed: dict[str, Event] = {"token": {"token": PHRASE}, "bytes": {"bytes": raw}}
    entry |= changed.get(where, {})
    other = {"token": PHRASE if where == "top" else "x", "bytes": raw, "logprob": -2.0}
    entry |= {"top_logprobs": [other]} if where.startswith("top") else {}
    chunk = event({"content": "Hi"})
    chunk["choices"][0]["logprobs"] = {"content": [entry]}
    backend.answer = Answer.stream(chunk, event({}, "stop"))
    async with (
        serve(backend, classifier=classifier()) as url,
        http.post(f"{url}/v1/chat/completions", json=asks(stream=True)) as response,
    ):
        body = await response.read()

    assert leaked(body) == set()
    assert finishes(received(body)) == {0: ["content_filter"]}


@pytest.mark.parametrize(
    "odd",
    [
        {"note": PHRASE},
        {PHRASE: 1},
        {"id": PHRASE},
        {"model": PHRASE},
        {"system_fingerprint": [PHRASE]},
        {"usage": {"prompt_tokens": PHRASE}},
    ],
)
async def test_beside_the_choices(serve: Serve, backend: FakeBackend, http: aiohttp.ClientSession, odd: Event) -> None:
    backend.answer = Answer.stream({**event({"content": "Hi"}), **odd}, event({}, "stop"))
    async with (
        serve(backend, classifier=classifier()) as url,
        http.post(f"{url}/v1/chat/completions", json=asks(stream=True)) as response,
    ):
        body = await response.read()

    assert leaked(body) == set()
    assert finishes(received(body)) == {0: ["content_filter"]}


@pytest.mark.parametrize("field", ["choice", "delta", "finish_reason", "role", "frame"])
async def test_in_fields_that_nobody_knows(
    serve: Serve, backend: FakeBackend, http: aiohttp.ClientSession, field: str
) -> None:
    odd = event({"content": "Hi"})
    match field:
        case "choice":
            odd["choices"][0]["note"] = [PHRASE]
        case "delta" | "role":
            odd["choices"][0]["delta"]["note" if field == "delta" else "role"] = PHRASE
        case "finish_reason":
            odd["choices"][0]["finish_reason"] = PHRASE
        case _:
            odd = {**odd, "choices": [], "note": PHRASE}
    backend.answer = Answer.stream(odd, event({}, "stop"))
    async with (
        serve(backend, classifier=classifier()) as url,
        http.post(f"{url}/v1/chat/completions", json=asks(stream=True)) as response,
    ):
        body = await response.read()

    assert leaked(body) == set()


@pytest.mark.parametrize("size", [1, 3, 7, 1000])
async def test_in_text_completions(serve: Serve, backend: FakeBackend, http: aiohttp.ClientSession, size: int) -> None:
    head: Event = {"id": "c", "object": "text_completion", "created": 1, "model": "m"}

    def said(text: str, finish: str | None = None) -> Event:
        tokens = {"tokens": [text], "token_logprobs": [-1.0], "top_logprobs": [{text: -1.0}], "text_offset": [0]}
        return {**head, "choices": [{"index": 0, "text": text, "logprobs": tokens, "finish_reason": finish}]}

    async with serve(backend, classifier=classifier()) as url:
        for place, streamed in product((0, 79, 200), (True, False)):
            text = SAFE[:place] + PHRASE + SAFE[place:]
            backend.answer = (
                Answer.stream(*map(said, cut(text, size)), said("", "stop")) if streamed else Answer.json(said(text))
            )
            async with http.post(f"{url}/v1/completions", json={"prompt": "x", "stream": streamed}) as response:
                body = await response.read()

            assert leaked(body) == set(), (place, streamed)
            assert b'"content_filter"' in body, (place, streamed)
