"""The client of the Azure AI Model Inference API, sync and async, pointed at the proxy.

It parses server-sent events strictly: a comment, an ``event:`` line or a CRLF raises ValueError.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import pytest
import structlog
from azure.ai.inference import ChatCompletionsClient
from azure.ai.inference.aio import ChatCompletionsClient as AsyncChatCompletionsClient
from azure.ai.inference.models import (
    ChatCompletions,
    ChatRequestMessage,
    CompletionsFinishReason,
    StreamingChatCompletionsUpdate,
    SystemMessage,
    UserMessage,
)
from azure.core.credentials import AzureKeyCredential
from azure.core.exceptions import HttpResponseError

from safety_proxy.testing import Answer, FakeBackend
from tests.clients.situations import (
    BREAK_OFF,
    BROKEN,
    MUMBLE,
    SYSTEM,
    THREATEN,
    TRANSLATE,
    USAGE,
    Seen,
    Situation,
)
from tests.server.conftest import HARM, OUTAGE, Serve
from tests.server.wire import SAFE, words

KEY = AzureKeyCredential("k")
T = TypeVar("T")


def messages(asks: str) -> list[ChatRequestMessage]:
    return [SystemMessage(SYSTEM), UserMessage(asks)]


async def in_thread(url: str, call: Callable[[ChatCompletionsClient], T]) -> T:
    def run() -> T:
        with ChatCompletionsClient(url, KEY, retry_total=0) as client:
            return call(client)

    return await asyncio.to_thread(run)


def seen_in(update: ChatCompletions | StreamingChatCompletionsUpdate) -> Seen:
    if not update.choices:
        return Seen()
    choice: Any = update.choices[0]
    said = choice.message if isinstance(update, ChatCompletions) else choice.delta
    finish = choice.finish_reason
    return Seen(said.content or "", finish.value if isinstance(finish, CompletionsFinishReason) else finish)


def joined(updates: Iterable[Seen]) -> Seen:
    parts = list(updates)
    [finish] = [part.finish for part in parts if part.finish is not None]
    return Seen("".join(part.text for part in parts), finish)


def seen_of(error: HttpResponseError) -> Seen:
    return Seen(status=error.status_code, code=error.error.code if error.error else None)


def ask(client: ChatCompletionsClient, situation: Situation) -> Seen:
    asked = messages(situation.asks)
    try:
        if not situation.streamed:
            return seen_in(client.complete(messages=asked))
        return joined(seen_in(update) for update in client.complete(messages=asked, stream=True))
    except HttpResponseError as error:
        return seen_of(error)


async def ask_async(client: AsyncChatCompletionsClient, situation: Situation) -> Seen:
    asked = messages(situation.asks)
    try:
        if not situation.streamed:
            return seen_in(await client.complete(messages=asked))
        return joined([seen_in(update) async for update in await client.complete(messages=asked, stream=True)])
    except HttpResponseError as error:
        return seen_of(error)


async def test_sync_client_in_every_situation(serve: Serve, model: FakeBackend, situation: Situation) -> None:
    async with serve(model) as url:
        situation.check(await in_thread(url, lambda client: ask(client, situation)))


async def test_async_client_in_every_situation(serve: Serve, model: FakeBackend, situation: Situation) -> None:
    async with serve(model) as url, AsyncChatCompletionsClient(url, KEY, retry_total=0) as client:
        situation.check(await ask_async(client, situation))


async def test_both_headers_of_a_key_are_taken_and_neither_reaches_the_backend(serve: Serve, model: FakeBackend) -> None:
    async with serve(model) as url:
        answer = await in_thread(url, lambda client: client.complete(messages=messages(TRANSLATE)))

    assert answer.usage.total_tokens == USAGE["total_tokens"]
    [asked] = model.requests
    assert "authorization" not in asked.headers
    assert "api-key" not in asked.headers


async def test_extra_parameters_of_the_client_reach_the_backend(serve: Serve, model: FakeBackend) -> None:
    extras = {"n": 1, "ignore_eos": False}
    async with serve(model) as url:
        await in_thread(url, lambda client: client.complete(messages=messages(TRANSLATE), model_extras=extras))

    assert extras.items() <= model.requests[0].body.items()


@pytest.mark.parametrize(
    ("asks", "reason", "kind"),
    [(THREATEN, CompletionsFinishReason.CONTENT_FILTERED, CompletionsFinishReason), (MUMBLE, "content_filter_error", str)],
)
async def test_a_filtered_choice_has_the_clients_own_reason_and_one_without_a_verdict_a_plain_string(
    serve: Serve, model: FakeBackend, asks: str, reason: object, kind: type
) -> None:
    async with serve(model) as url:
        answer = await in_thread(url, lambda client: client.complete(messages=messages(asks)))
        updates = await in_thread(url, lambda client: list(client.complete(messages=messages(asks), stream=True)))

    for choice in (answer.choices[0], updates[-1].choices[0]):
        assert choice.finish_reason == reason
        assert type(choice.finish_reason) is kind
    filtered = updates[-1].choices[0]["content_filter_results"].get("violence", {}).get("filtered", False)
    assert filtered is (asks == THREATEN)


async def test_a_blocked_prompt_says_why_and_is_not_sent_again(serve: Serve, model: FakeBackend) -> None:
    async with serve(model) as url:
        with ChatCompletionsClient(url, KEY) as client, structlog.testing.capture_logs() as events:
            with pytest.raises(HttpResponseError) as caught:
                await asyncio.to_thread(client.complete, messages=messages(HARM))

    error: Any = caught.value.error
    assert error.code == "content_filter"
    assert error.message.startswith("The response was filtered due to the prompt triggering")
    assert error.innererror["code"] == "ResponsibleAIPolicyViolation"
    assert error.innererror["content_filter_result"]["violence"] == {"filtered": True, "severity": "high"}
    assert [event["status"] for event in events if event["event"] == "request.served"] == [400]
    assert model.requests == []


async def test_a_prompt_without_a_verdict_is_sent_again_as_often_as_the_client_retries(
    serve: Serve, model: FakeBackend
) -> None:
    """Twice here: it obeys our ``Retry-After`` of a second each time."""
    async with serve(model) as url, AsyncChatCompletionsClient(url, KEY, retry_total=1) as client:
        with structlog.testing.capture_logs() as events, pytest.raises(HttpResponseError) as caught:
            await client.complete(messages=messages(OUTAGE))

    assert seen_of(caught.value) == Seen(status=503, code="content_filter_error")
    assert [event["status"] for event in events if event["event"] == "request.served"] == [503, 503]
    assert model.requests == []


async def test_heartbeats_are_updates_like_any_other(serve: Serve, model: FakeBackend) -> None:
    """The backend goes on after the third update; before that it has sent a role and a text that is held."""
    gate = asyncio.Event()
    begun, rest = words(SAFE)[:2], words(SAFE)[2:]
    model.answer = Answer([*Answer.stream(*begun, done=False).pieces, gate, *Answer.stream(*rest).pieces])
    policy = "version: 1\nname: test\nclassifiers: [embedded]\ninput: {}\noutput: {stream: {heartbeat: 100ms}}\n"
    updates = []
    async with serve(model, policy=policy) as url, AsyncChatCompletionsClient(url, KEY, retry_total=0) as client:
        async for update in await client.complete(messages=messages(TRANSLATE), stream=True):
            updates.append(seen_in(update))
            if len(updates) > 2:
                gate.set()

    assert updates[:3] == [Seen()] * 3
    assert joined(updates) == Seen(SAFE, "stop")


async def test_a_backend_that_breaks_off_is_seen_though_the_client_drops_errors(serve: Serve, model: FakeBackend) -> None:
    async with serve(model) as url:
        updates = await in_thread(url, lambda client: list(client.complete(messages=messages(BREAK_OFF), stream=True)))

    assert joined(map(seen_in, updates)) == Seen(BROKEN, "error")
