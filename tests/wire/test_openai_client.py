"""The official OpenAI client, sync and async, pointed at the proxy: what its users see."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

import openai
import pytest
from openai.types.chat import ChatCompletionMessageFunctionToolCall, ChatCompletionUserMessageParam
from pydantic import BaseModel

from safety_proxy.testing import Answer, FakeBackend
from tests.server.conftest import HARM, OUTAGE, Serve
from tests.server.wire import SAFE, Event, event, whole, words

ASK: list[ChatCompletionUserMessageParam] = [{"role": "user", "content": "How far is the Moon?"}]
T = TypeVar("T")


def client_of(url: str) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="k", max_retries=0)


async def test_async_stream_of_a_safe_answer(serve: Serve, backend: FakeBackend) -> None:
    usage = {**event({}), "choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}}
    backend.answer = Answer.stream(*words(SAFE), usage)
    async with serve(backend) as url, client_of(url) as client:
        stream = await client.chat.completions.create(
            model="m",
            messages=ASK,
            stream=True,
            stream_options={"include_usage": True},
        )
        chunks = [chunk async for chunk in stream]

    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == SAFE
    assert [c.choices[0].finish_reason for c in chunks if c.choices][-1] == "stop"
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.total_tokens == 3


async def test_async_stream_that_is_cut(serve: Serve, backend: FakeBackend) -> None:
    backend.answer = Answer.stream(*words(SAFE[:333] + HARM + SAFE))
    async with serve(backend) as url, client_of(url) as client:
        stream = await client.chat.completions.create(model="m", messages=ASK, stream=True)
        chunks = [chunk async for chunk in stream]

    assert [c.choices[0].finish_reason for c in chunks][-1] == "content_filter"
    assert SAFE[:333].startswith("".join(c.choices[0].delta.content or "" for c in chunks))
    results = chunks[-1].choices[0].model_extra
    assert results is not None
    assert results["content_filter_results"]["violence"]["filtered"] is True


async def test_async_stream_without_a_verdict(serve: Serve, backend: FakeBackend) -> None:
    backend.answer = Answer.stream(*words(OUTAGE))
    async with serve(backend) as url, client_of(url) as client:
        stream = await client.chat.completions.create(model="m", messages=ASK, stream=True)
        reasons = [str(chunk.choices[0].finish_reason) async for chunk in stream]

    assert reasons[-1] == "content_filter_error"


async def test_a_failing_backend_raises_in_mid_stream(serve: Serve, backend: FakeBackend) -> None:
    backend.answer = Answer.stream(*words(SAFE)[:5], done=False)
    async with serve(backend) as url, client_of(url) as client:
        stream = await client.chat.completions.create(model="m", messages=ASK, stream=True)
        with pytest.raises(openai.APIError):
            async for _ in stream:
                pass


async def test_the_stream_helper_raises_on_a_filtered_choice(serve: Serve, backend: FakeBackend) -> None:
    backend.answer = Answer.stream(*words(HARM))
    async with (
        serve(backend) as url,
        client_of(url) as client,
        client.chat.completions.stream(model="m", messages=ASK) as stream,
    ):
        with pytest.raises(openai.ContentFilterFinishReasonError):
            await stream.get_final_completion()


async def test_tool_calls_arrive_whole(serve: Serve, backend: FakeBackend) -> None:
    call: Event = {"index": 0, "id": "call_1", "type": "function", "function": {"name": "weather", "arguments": ""}}
    more = [{"index": 0, "function": {"arguments": piece}} for piece in ('{"ci', 'ty": ', '"Oslo"}')]
    sent = [event({"role": "assistant", "content": None, "tool_calls": [call]}), *(event({"tool_calls": [m]}) for m in more)]
    backend.answer = Answer.stream(*sent, event({}, "tool_calls"))
    async with (
        serve(backend) as url,
        client_of(url) as client,
        client.chat.completions.stream(model="m", messages=ASK) as stream,
    ):
        final = await stream.get_final_completion()

    assert final.choices[0].finish_reason == "tool_calls"
    [made] = final.choices[0].message.tool_calls or []
    assert isinstance(made, ChatCompletionMessageFunctionToolCall)
    assert made.function.arguments == '{"city": "Oslo"}'


# ------------------------------------------------------------------------------------------------------------ sync


async def in_thread(url: str, call: Callable[[openai.OpenAI], T]) -> T:
    def run() -> T:
        with openai.OpenAI(base_url=f"{url}/v1", api_key="k", max_retries=0) as client:
            return call(client)

    return await asyncio.to_thread(run)


async def test_sync_answer_whole_and_filtered(serve: Serve, backend: FakeBackend) -> None:
    backend.answer = Answer.json(whole("Hi", HARM))
    async with serve(backend) as url:
        answer = await in_thread(url, lambda c: c.chat.completions.create(model="m", messages=ASK, n=2))

    assert [c.finish_reason for c in answer.choices] == ["stop", "content_filter"]
    assert [c.message.content for c in answer.choices] == ["Hi", None]


async def test_sync_stream(serve: Serve, backend: FakeBackend) -> None:
    backend.answer = Answer.stream(*words(SAFE))

    def read(client: openai.OpenAI) -> str:
        stream = client.chat.completions.create(model="m", messages=ASK, stream=True)
        return "".join(chunk.choices[0].delta.content or "" for chunk in stream)

    async with serve(backend) as url:
        assert await in_thread(url, read) == SAFE


async def test_a_filtered_prompt_is_a_bad_request_with_code_and_results(serve: Serve, backend: FakeBackend) -> None:
    ask: list[ChatCompletionUserMessageParam] = [{"role": "user", "content": HARM}]
    async with serve(backend) as url:
        with pytest.raises(openai.BadRequestError) as caught:
            await in_thread(url, lambda c: c.chat.completions.create(model="m", messages=ask, stream=True))

    error = caught.value
    assert (error.code, error.param, error.type) == ("content_filter", "prompt", "invalid_request_error")
    assert isinstance(error.body, dict)
    assert error.body["innererror"]["content_filter_result"]["violence"]["filtered"] is True


async def test_parse_raises_on_a_filtered_completion(serve: Serve, backend: FakeBackend) -> None:
    class Distance(BaseModel):
        kilometres: int

    backend.answer = Answer.json(whole(HARM))
    async with serve(backend) as url:
        with pytest.raises(openai.ContentFilterFinishReasonError):
            await in_thread(url, lambda c: c.chat.completions.parse(model="m", messages=ASK, response_format=Distance))


async def test_legacy_completions(serve: Serve, backend: FakeBackend) -> None:
    head: Event = {"id": "c", "object": "text_completion", "created": 1, "model": "m"}
    pieces = [{**head, "choices": [{"index": 0, "text": t, "logprobs": None, "finish_reason": None}]} for t in ("Hel", "lo")]
    end = {**head, "choices": [{"index": 0, "text": "", "logprobs": None, "finish_reason": "length"}]}
    backend.answer = Answer.stream(*pieces, end)

    def read(client: openai.OpenAI) -> list[tuple[str, str | None]]:
        stream = client.completions.create(model="m", prompt="Say hello", stream=True)
        return [(chunk.choices[0].text, chunk.choices[0].finish_reason) for chunk in stream]

    async with serve(backend) as url:
        assert await in_thread(url, read) == [("Hel", None), ("lo", None), ("", "length")]
