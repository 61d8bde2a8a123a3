"""The official OpenAI client in front of a policy with ``mode: asynchronous``: events without text do not trouble it."""

from __future__ import annotations

import openai
import pytest
from openai.types.chat import ChatCompletionUserMessageParam

from safety_proxy.testing import Answer, FakeBackend
from tests.server.conftest import HARM, OUTAGE, Serve
from tests.server.wire import SAFE, Event, event, words

ASK: list[ChatCompletionUserMessageParam] = [{"role": "user", "content": "How far is the Moon?"}]
POLICY = """
version: 1
name: test
classifiers: [embedded]
output: {stream: {mode: asynchronous}}
"""


def client_of(url: str) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="k", max_retries=0)


@pytest.mark.parametrize(
    ("text", "end"), [(SAFE, "stop"), (SAFE + HARM, "content_filter"), (SAFE + OUTAGE, "content_filter_error")]
)
async def test_plain_iteration(serve: Serve, backend: FakeBackend, text: str, end: str) -> None:
    backend.answer = Answer.stream(*words(text))
    async with serve(backend, policy=POLICY) as url, client_of(url) as client:
        stream = await client.chat.completions.create(model="m", messages=ASK, stream=True)
        choices = [chunk.choices[0] async for chunk in stream]
    reasons = [str(choice.finish_reason) for choice in choices if choice.finish_reason]
    extras = [choice.model_extra or {} for choice in choices]

    assert "".join(choice.delta.content or "" for choice in choices) == text
    assert reasons == [end]
    assert any(extra.get("content_filter_offsets", {}).get("check_offset") for extra in extras)


async def test_the_stream_helper_on_a_safe_answer(serve: Serve, backend: FakeBackend) -> None:
    usage = {**event({}), "choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}}
    backend.answer = Answer.stream(*words(SAFE), usage)
    async with (
        serve(backend, policy=POLICY) as url,
        client_of(url) as client,
        client.chat.completions.stream(model="m", messages=ASK, stream_options={"include_usage": True}) as stream,
    ):
        deltas = [each.delta async for each in stream if each.type == "content.delta"]
        final = await stream.get_final_completion()

    assert "".join(deltas) == final.choices[0].message.content == SAFE
    assert final.choices[0].finish_reason == "stop"
    assert final.usage is not None


async def test_the_stream_helper_raises_on_a_filtered_choice(serve: Serve, backend: FakeBackend) -> None:
    backend.answer = Answer.stream(*words(SAFE + HARM))
    async with (
        serve(backend, policy=POLICY) as url,
        client_of(url) as client,
        client.chat.completions.stream(model="m", messages=ASK) as stream,
    ):
        with pytest.raises(openai.ContentFilterFinishReasonError):
            await stream.get_final_completion()


async def test_legacy_completions(serve: Serve, backend: FakeBackend) -> None:
    head: Event = {"id": "c", "object": "text_completion", "created": 1, "model": "m"}
    pieces = [{**head, "choices": [{"index": 0, "text": t, "logprobs": None, "finish_reason": None}]} for t in ("Hel", "lo")]
    end = {**head, "choices": [{"index": 0, "text": "", "logprobs": None, "finish_reason": "length"}]}
    backend.answer = Answer.stream(*pieces, end)
    async with serve(backend, policy=POLICY) as url, client_of(url) as client:
        stream = await client.completions.create(model="m", prompt="Say hello", stream=True)
        choices = [chunk.choices[0] async for chunk in stream]

    assert [choice.text for choice in choices] == ["Hel", "lo", "", ""]
    assert "content_filter_offsets" in (choices[2].model_extra or {})
    assert choices[3].finish_reason == "length"
