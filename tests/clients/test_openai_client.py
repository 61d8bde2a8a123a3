"""The official OpenAI client, sync and async, pointed at the proxy: what its users see.

Its helpers `.stream()` and `.parse()` turn the reasons ``content_filter`` and ``length`` into exceptions, and no other.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import TypeVar

import openai
import pytest
from openai.types.chat import (
    ChatCompletion,
    ChatCompletionChunk,
    ChatCompletionMessageFunctionToolCall,
    ChatCompletionUserMessageParam,
)
from pydantic import BaseModel

from safety_proxy.testing import Answer, FakeBackend
from tests.clients.situations import BREAK_OFF, MUMBLE, THREATEN, Seen, Situation
from tests.server.conftest import HARM, OUTAGE, Serve
from tests.server.wire import SAFE, Event, event, whole, words

ASK: list[ChatCompletionUserMessageParam] = [{"role": "user", "content": "How far is the Moon?"}]
T = TypeVar("T")


class Distance(BaseModel):
    kilometres: int


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


# ---------------------------------------------------------------------------------------------------- every situation


def asked(text: str) -> list[ChatCompletionUserMessageParam]:
    return [{"role": "user", "content": text}]


def seen_whole(answer: ChatCompletion) -> Seen:
    [choice] = answer.choices
    return Seen(choice.message.content or "", choice.finish_reason)


def seen_streamed(chunks: Iterable[ChatCompletionChunk]) -> Seen:
    choices = [choice for chunk in chunks for choice in chunk.choices]
    [finish] = [choice.finish_reason for choice in choices if choice.finish_reason is not None]
    return Seen("".join(choice.delta.content or "" for choice in choices), finish)


def seen_raised(error: openai.APIStatusError) -> Seen:
    return Seen(status=error.status_code, code=error.code)


def ask(client: openai.OpenAI, situation: Situation) -> Seen:
    messages = asked(situation.asks)
    try:
        if situation.streamed:
            return seen_streamed(client.chat.completions.create(model="m", messages=messages, stream=True))
        return seen_whole(client.chat.completions.create(model="m", messages=messages))
    except openai.APIStatusError as error:
        return seen_raised(error)


async def ask_async(client: openai.AsyncOpenAI, situation: Situation) -> Seen:
    messages = asked(situation.asks)
    try:
        if situation.streamed:
            stream = await client.chat.completions.create(model="m", messages=messages, stream=True)
            return seen_streamed([chunk async for chunk in stream])
        return seen_whole(await client.chat.completions.create(model="m", messages=messages))
    except openai.APIStatusError as error:
        return seen_raised(error)


async def test_sync_client_in_every_situation(serve: Serve, model: FakeBackend, situation: Situation) -> None:
    async with serve(model) as url:
        situation.check(await in_thread(url, lambda client: ask(client, situation)))


async def test_async_client_in_every_situation(serve: Serve, model: FakeBackend, situation: Situation) -> None:
    async with serve(model) as url, client_of(url) as client:
        situation.check(await ask_async(client, situation))


def by_helper(client: openai.OpenAI, situation: Situation) -> Seen:
    """By `.stream()` or `.parse()`, as a caller sees the completion that they give."""
    messages = asked(situation.asks)
    try:
        if not situation.streamed:
            return seen_whole(client.chat.completions.parse(model="m", messages=messages))
        with client.chat.completions.stream(model="m", messages=messages) as stream:
            return seen_whole(stream.get_final_completion())
    except openai.APIStatusError as error:
        return seen_raised(error)


async def by_async_helper(client: openai.AsyncOpenAI, situation: Situation) -> Seen:
    messages = asked(situation.asks)
    try:
        if not situation.streamed:
            return seen_whole(await client.chat.completions.parse(model="m", messages=messages))
        async with client.chat.completions.stream(model="m", messages=messages) as stream:
            return seen_whole(await stream.get_final_completion())
    except openai.APIStatusError as error:
        return seen_raised(error)


async def test_sync_helpers_in_every_situation(serve: Serve, model: FakeBackend, situation: Situation) -> None:
    async with serve(model) as url:
        if situation.expected.finish == "content_filter":
            with pytest.raises(openai.ContentFilterFinishReasonError):
                await in_thread(url, lambda client: by_helper(client, situation))
        else:
            situation.check(await in_thread(url, lambda client: by_helper(client, situation)))


async def test_async_helpers_in_every_situation(serve: Serve, model: FakeBackend, situation: Situation) -> None:
    async with serve(model) as url, client_of(url) as client:
        if situation.expected.finish == "content_filter":
            with pytest.raises(openai.ContentFilterFinishReasonError):
                await by_async_helper(client, situation)
        else:
            situation.check(await by_async_helper(client, situation))


async def test_parsing_what_was_withheld_without_a_verdict_gives_nothing_and_raises_nothing(
    serve: Serve, model: FakeBackend
) -> None:
    async with serve(model) as url, client_of(url) as client:
        answer = await client.chat.completions.parse(model="m", messages=asked(MUMBLE), response_format=Distance)

    [choice] = answer.choices
    assert (str(choice.finish_reason), choice.message.parsed) == ("content_filter_error", None)


async def test_what_is_parsed_arrives_as_the_model_wrote_it(serve: Serve, backend: FakeBackend) -> None:
    backend.answer = Answer.json(whole('{"kilometres": 384400}'))
    async with serve(backend) as url, client_of(url) as client:
        answer = await client.chat.completions.parse(model="m", messages=ASK, response_format=Distance)

    assert answer.choices[0].message.parsed == Distance(kilometres=384400)
    assert "response_format" in backend.requests[0].body


async def test_the_exception_for_a_filtered_completion_carries_the_completion(serve: Serve, model: FakeBackend) -> None:
    async with serve(model) as url, client_of(url) as client:
        with pytest.raises(openai.ContentFilterFinishReasonError) as caught:
            await client.chat.completions.parse(model="m", messages=asked(THREATEN))

    completion = caught.value.completion
    assert completion is not None
    extra = completion.choices[0].model_extra
    assert extra is not None
    assert extra["content_filter_results"]["violence"]["filtered"] is True


async def test_a_backend_that_breaks_off_raises_and_says_so(serve: Serve, model: FakeBackend) -> None:
    async with serve(model) as url, client_of(url) as client:
        with pytest.raises(openai.APIError) as caught:
            async with client.chat.completions.stream(model="m", messages=asked(BREAK_OFF)) as stream:
                await stream.until_done()

    assert caught.value.code == "backend_incomplete"
