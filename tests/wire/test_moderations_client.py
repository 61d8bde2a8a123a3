"""The official OpenAI client's ``moderations.create``, sync and async, pointed at the filtering service."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

import openai
import pytest
from openai.types import ModerationCreateResponse, ModerationMultiModalInputParam

from safety_proxy.testing import FakeBackend
from tests.pictures import data_url, png
from tests.server.conftest import HARM, OUTAGE, Serve, scripted

KEY = "key-of-the-team"
KEYS = f"keys: [{{name: team, sha256: {hashlib.sha256(KEY.encode()).hexdigest()}}}]\n"

Start = Callable[[], AbstractAsyncContextManager[str]]
Input = str | list[str] | list[ModerationMultiModalInputParam]


@pytest.fixture(name="start")
def _start(serve: Serve, backend: FakeBackend) -> Start:
    """Start a filtering service that asks for a key: ``async with start() as url``."""

    def start() -> AbstractAsyncContextManager[str]:
        flags = {"filter_only": "true", "policy": "test"}
        return serve(backend, config=KEYS, flags=flags, classifier=scripted(reads_images=True))

    return start


async def create(url: str, given: Input, *, asynchronous: bool, key: str = KEY) -> ModerationCreateResponse:
    if asynchronous:
        async with openai.AsyncOpenAI(base_url=f"{url}/v1", api_key=key, max_retries=0) as client:
            return await client.moderations.create(input=given, model="omni-moderation-latest")

    def run() -> ModerationCreateResponse:
        with openai.OpenAI(base_url=f"{url}/v1", api_key=key, max_retries=0) as client:
            return client.moderations.create(input=given)

    return await asyncio.to_thread(run)


both_clients = pytest.mark.parametrize("asynchronous", [False, True], ids=["sync", "async"])


@both_clients
async def test_a_text_is_judged(start: Start, *, asynchronous: bool) -> None:
    async with start() as url:
        told = await create(url, HARM, asynchronous=asynchronous)

    (result,) = told.results
    assert told.id.startswith("modr-")
    assert told.model == "omni-moderation-latest"
    assert result.flagged
    assert result.categories.violence
    assert not result.categories.self_harm_intent
    assert result.category_scores.violence == 0.8
    assert result.category_applied_input_types.violence == ["text"]
    assert None not in result.categories.model_dump().values()
    assert None not in result.category_scores.model_dump().values()
    assert None not in result.category_applied_input_types.model_dump().values()


@both_clients
async def test_an_array_is_answered_text_by_text(start: Start, *, asynchronous: bool) -> None:
    async with start() as url:
        told = await create(url, ["fine", HARM, ""], asynchronous=asynchronous)

    assert [result.flagged for result in told.results] == [False, True, False]


@both_clients
async def test_text_and_image_are_judged_together(start: Start, *, asynchronous: bool) -> None:
    parts: list[ModerationMultiModalInputParam] = [
        {"type": "text", "text": "fine"},
        {"type": "image_url", "image_url": {"url": data_url(png(HARM))}},
    ]
    async with start() as url:
        told = await create(url, parts, asynchronous=asynchronous)

    (result,) = told.results
    assert result.flagged
    assert list(result.category_applied_input_types.violence) == ["text", "image"]


@both_clients
async def test_errors_are_the_clients_own(start: Start, *, asynchronous: bool) -> None:
    async with start() as url:
        with pytest.raises(openai.AuthenticationError):
            await create(url, "fine", asynchronous=asynchronous, key="another")
        with pytest.raises(openai.InternalServerError) as undecided:
            await create(url, OUTAGE, asynchronous=asynchronous)
        with pytest.raises(openai.BadRequestError) as wrong:
            await create(url, [], asynchronous=asynchronous)

    assert (undecided.value.status_code, undecided.value.code) == (503, "content_filter_error")
    assert wrong.value.param == "input"
