"""OpenAI's clients on Azure's paths, sync and async: what their users see."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

import openai
import pytest
from openai.types.chat import ChatCompletionUserMessageParam

from safety_proxy.testing import Answer, FakeBackend
from tests.server.conftest import HARM, OUTAGE, Serve
from tests.server.wire import SAFE, Event, whole, words

T = TypeVar("T")

ASK: list[ChatCompletionUserMessageParam] = [{"role": "user", "content": "How far is the Moon?"}]
ASK_HARM: list[ChatCompletionUserMessageParam] = [{"role": "user", "content": HARM}]
VERSION = "2024-10-21"
MODEL = "default"
"""The deployment that ``--backend`` alone makes."""

Connect = Callable[[str], openai.AsyncOpenAI]
CLIENTS: dict[str, Connect] = {
    "deployments": lambda url: openai.AsyncAzureOpenAI(azure_endpoint=url, api_key="k", api_version=VERSION, max_retries=0),
    "v1": lambda url: openai.AsyncOpenAI(base_url=f"{url}/openai/v1", api_key="k", max_retries=0),
}


@pytest.fixture(name="connect", params=list(CLIENTS))
def _connect(request: pytest.FixtureRequest) -> Connect:
    return CLIENTS[request.param]


async def test_async_answer(serve: Serve, backend: FakeBackend, connect: Connect) -> None:
    backend.answer = Answer.json(whole("Hi", HARM))
    async with serve(backend) as url, connect(url) as client:
        answer = await client.chat.completions.create(model=MODEL, messages=ASK, n=2)

    assert [c.finish_reason for c in answer.choices] == ["stop", "content_filter"]
    assert [c.message.content for c in answer.choices] == ["Hi", None]
    assert backend.requests[-1].body["model"] == MODEL


async def test_async_stream(serve: Serve, backend: FakeBackend, connect: Connect) -> None:
    backend.answer = Answer.stream(*words(SAFE))
    async with serve(backend) as url, connect(url) as client:
        stream = await client.chat.completions.create(model=MODEL, messages=ASK, stream=True)
        chunks = [chunk async for chunk in stream]

    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == SAFE
    assert chunks[-1].choices[0].finish_reason == "stop"
    told = [chunk for chunk in chunks if "prompt_filter_results" in (chunk.model_extra or {})]
    assert told == chunks[:1]


async def test_async_stream_that_is_cut(serve: Serve, backend: FakeBackend, connect: Connect) -> None:
    backend.answer = Answer.stream(*words(SAFE[:333] + HARM + SAFE))
    async with serve(backend) as url, connect(url) as client:
        stream = await client.chat.completions.create(model=MODEL, messages=ASK, stream=True)
        chunks = [chunk async for chunk in stream]

    assert chunks[-1].choices[0].finish_reason == "content_filter"
    assert SAFE[:333].startswith("".join(c.choices[0].delta.content or "" for c in chunks if c.choices))


async def test_a_completion_without_a_verdict(serve: Serve, backend: FakeBackend, connect: Connect) -> None:
    async with serve(backend) as url, connect(url) as client:
        backend.answer = Answer.json(whole(OUTAGE))
        answer = await client.chat.completions.create(model=MODEL, messages=ASK)
        backend.answer = Answer.stream(*words(OUTAGE))
        stream = await client.chat.completions.create(model=MODEL, messages=ASK, stream=True)
        chunks = [chunk async for chunk in stream]

    assert str(answer.choices[0].finish_reason) == str(chunks[-1].choices[0].finish_reason) == "content_filter_error"
    assert answer.choices[0].message.content is None
    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == ""


async def test_the_stream_helper_reads_the_event_about_the_prompt(
    serve: Serve, backend: FakeBackend, connect: Connect
) -> None:
    backend.answer = Answer.stream(*words(SAFE))
    async with (
        serve(backend) as url,
        connect(url) as client,
        client.chat.completions.stream(model=MODEL, messages=ASK) as stream,
    ):
        final = await stream.get_final_completion()

    assert final.choices[0].message.content == SAFE


@pytest.mark.parametrize("streamed", [True, False])
async def test_a_filtered_prompt(serve: Serve, backend: FakeBackend, connect: Connect, streamed: bool) -> None:
    async with serve(backend) as url, connect(url) as client:
        with pytest.raises(openai.BadRequestError) as caught:
            await client.chat.completions.create(model=MODEL, messages=ASK_HARM, stream=streamed)

    assert caught.value.code == "content_filter"
    assert backend.requests == []


async def test_text_completions(serve: Serve, backend: FakeBackend, connect: Connect) -> None:
    choice: Event = {"index": 0, "text": "Hello", "logprobs": None, "finish_reason": "stop"}
    backend.answer = Answer.json({"id": "c", "object": "text_completion", "created": 1, "model": "m", "choices": [choice]})
    async with serve(backend) as url, connect(url) as client:
        answer = await client.completions.create(model=MODEL, prompt="Say hello")

    assert answer.choices[0].text == "Hello"


async def test_embeddings_come_as_base64_and_are_numbers_to_the_user(
    serve: Serve, backend: FakeBackend, connect: Connect
) -> None:
    """The client asks for base64 by itself."""
    element: Event = {"object": "embedding", "index": 0, "embedding": "AAAAPwAAoL8="}
    usage: Event = {"prompt_tokens": 1, "total_tokens": 1}
    backend.answer = Answer.json({"object": "list", "model": "m", "data": [element], "usage": usage})
    async with serve(backend) as url, connect(url) as client:
        answer = await client.embeddings.create(model=MODEL, input="the Moon")
        with pytest.raises(openai.BadRequestError):
            await client.embeddings.create(model=MODEL, input=["the Moon", HARM])

    assert backend.requests[-1].body["encoding_format"] == "base64"
    assert answer.data[0].embedding == [0.5, -1.25]


async def test_a_deployment_that_is_none(serve: Serve, backend: FakeBackend) -> None:
    async with serve(backend) as url, CLIENTS["deployments"](url) as client:
        with pytest.raises(openai.NotFoundError) as caught:
            await client.chat.completions.create(model="none", messages=ASK)

    assert (caught.value.code, caught.value.param) == ("deployment_not_found", "deployment")


async def test_models(serve: Serve, backend: FakeBackend) -> None:
    async with serve(backend) as url, CLIENTS["v1"](url) as client:
        listed = [model.id async for model in client.models.list()]
        shown = await client.models.retrieve(MODEL)
        with pytest.raises(openai.NotFoundError):
            await client.models.retrieve("none")

    assert listed == [shown.id] == [MODEL]


# ---------------------------------------------------------------------------------------------------------------- sync


async def in_thread(url: str, call: Callable[[openai.AzureOpenAI], T]) -> T:
    def run() -> T:
        with openai.AzureOpenAI(azure_endpoint=url, api_key="k", api_version=VERSION, max_retries=0) as client:
            return call(client)

    return await asyncio.to_thread(run)


async def test_sync_answer(serve: Serve, backend: FakeBackend) -> None:
    backend.answer = Answer.json(whole("Hi", HARM))
    async with serve(backend) as url:
        answer = await in_thread(url, lambda c: c.chat.completions.create(model=MODEL, messages=ASK, n=2))

    assert [c.finish_reason for c in answer.choices] == ["stop", "content_filter"]


async def test_sync_stream_whole_and_cut(serve: Serve, backend: FakeBackend) -> None:
    def read(client: openai.AzureOpenAI) -> tuple[str, str | None]:
        stream = client.chat.completions.create(model=MODEL, messages=ASK, stream=True)
        choices = [chunk.choices[0] for chunk in stream if chunk.choices]
        return "".join(choice.delta.content or "" for choice in choices), choices[-1].finish_reason

    async with serve(backend) as url:
        backend.answer = Answer.stream(*words(SAFE))
        assert await in_thread(url, read) == (SAFE, "stop")
        backend.answer = Answer.stream(*words(SAFE[:333] + HARM))
        text, reason = await in_thread(url, read)

    assert reason == "content_filter"
    assert SAFE[:333].startswith(text)


async def test_sync_filtered_prompt(serve: Serve, backend: FakeBackend) -> None:
    async with serve(backend) as url:
        with pytest.raises(openai.BadRequestError) as caught:
            await in_thread(url, lambda c: c.chat.completions.create(model=MODEL, messages=ASK_HARM))

    assert caught.value.code == "content_filter"
