"""The client of the Azure AI Model Inference API, sync and async: the strictest reader of streams there is."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

import pytest
from azure.ai.inference import ChatCompletionsClient, EmbeddingsClient, load_client
from azure.ai.inference.aio import ChatCompletionsClient as AsyncChatCompletionsClient
from azure.ai.inference.models import ChatRequestMessage, CompletionsFinishReason, ModelType, UserMessage
from azure.core.credentials import AzureKeyCredential
from azure.core.exceptions import HttpResponseError

from safety_proxy.testing import Answer, FakeBackend
from tests.server.conftest import HARM, Serve
from tests.server.wire import SAFE, Event, event, whole, words

T = TypeVar("T")
KEY = AzureKeyCredential("k")
ASK_HARM: list[ChatRequestMessage] = [UserMessage(HARM)]
ASK: list[ChatRequestMessage] = [UserMessage("How far is the Moon?")]


async def in_thread(url: str, call: Callable[[ChatCompletionsClient], T]) -> T:
    def run() -> T:
        with ChatCompletionsClient(url, KEY, retry_total=0) as client:
            return call(client)

    return await asyncio.to_thread(run)


async def test_sync_answer(serve: Serve, backend: FakeBackend) -> None:
    backend.answer = Answer.json(whole("Hi"))
    async with serve(backend) as url:
        answer = await in_thread(url, lambda c: c.complete(messages=ASK, model_extras={"ignore_eos": True}))

    assert answer.choices[0].message.content == "Hi"
    assert backend.requests[-1].body["ignore_eos"] is True


async def test_sync_stream_whole_and_cut(serve: Serve, backend: FakeBackend) -> None:
    usage: Event = {**event({}), "choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}}

    def read(client: ChatCompletionsClient) -> tuple[str, object]:
        choices = [choice for update in client.complete(messages=ASK, stream=True) for choice in update.choices or ()]
        return "".join(choice.delta.content or "" for choice in choices if choice.delta), choices[-1].finish_reason

    async with serve(backend) as url:
        backend.answer = Answer.stream(*words(SAFE), usage)
        assert await in_thread(url, read) == (SAFE, CompletionsFinishReason.STOPPED)
        backend.answer = Answer.stream(*words(SAFE[:333] + HARM), usage)
        text, reason = await in_thread(url, read)

    assert reason == CompletionsFinishReason.CONTENT_FILTERED
    assert SAFE[:333].startswith(text)


async def test_a_filtered_prompt(serve: Serve, backend: FakeBackend) -> None:
    async with serve(backend) as url:
        with pytest.raises(HttpResponseError) as caught:
            await in_thread(url, lambda c: c.complete(messages=ASK_HARM, stream=True))

    assert caught.value.status_code == 400
    assert caught.value.error is not None
    assert caught.value.error.code == "content_filter"
    assert backend.requests == []


async def test_async_stream(serve: Serve, backend: FakeBackend) -> None:
    backend.answer = Answer.stream(*words(SAFE))
    async with serve(backend) as url, AsyncChatCompletionsClient(url, KEY) as client:
        stream = await client.complete(messages=ASK, stream=True)
        choices = [choice async for update in stream for choice in update.choices or ()]

    assert "".join(choice.delta.content or "" for choice in choices if choice.delta) == SAFE


async def test_info_tells_which_client_to_make(serve: Serve, backend: FakeBackend) -> None:
    def load(url: str) -> tuple[object, ...]:
        with load_client(url, KEY) as client:
            info = client.get_model_info()
            return type(client), info.model_name, info.model_type, info.model_provider_name

    async with serve(backend) as url:
        told = await asyncio.to_thread(load, url)

    assert told == (ChatCompletionsClient, "default", ModelType.CHAT_COMPLETION, "unknown")


async def test_embeddings(serve: Serve, backend: FakeBackend) -> None:
    usage: Event = {"prompt_tokens": 1, "total_tokens": 1}
    backend.answer = Answer.json(
        {"id": "e", "object": "list", "model": "m", "data": [{"index": 0, "embedding": [0.5]}], "usage": usage}
    )

    def embed(url: str) -> object:
        with EmbeddingsClient(url, KEY, retry_total=0) as client:
            return client.embed(input=["the Moon"]).data[0].embedding

    async with serve(backend) as url:
        assert await asyncio.to_thread(embed, url) == [0.5]
