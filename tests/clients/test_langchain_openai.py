"""LangChain's `ChatOpenAI`, pointed at the proxy: invoked, streamed, with a tool."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import reduce
from operator import add

import openai
import pytest
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, HumanMessage, SystemMessage
from langchain_openai import ChatOpenAI
from pydantic import SecretStr

from safety_proxy.testing import Answer, FakeBackend
from tests.clients.situations import BREAK_OFF, SYSTEM, TRANSLATE, USAGE, Seen, Situation
from tests.server.conftest import HARM, Serve
from tests.server.wire import SAFE, Event, event

pytestmark = pytest.mark.slow


def chat_of(url: str) -> ChatOpenAI:
    return ChatOpenAI(base_url=f"{url}/v1", api_key=SecretStr("k"), model="m", max_retries=0, stream_usage=True)


def messages(asks: str) -> list[BaseMessage]:
    return [SystemMessage(SYSTEM), HumanMessage(asks)]


def seen_in(message: AIMessage | AIMessageChunk) -> Seen:
    return Seen(str(message.content), message.response_metadata["finish_reason"])


async def streamed(chat: ChatOpenAI, asks: str) -> AIMessageChunk:
    return added([part async for part in chat.astream(messages(asks))])


def added(parts: Sequence[AIMessage]) -> AIMessageChunk:
    """LangChain's way of making one message of a stream."""
    message = reduce(add, parts)
    assert isinstance(message, AIMessageChunk)
    return message


async def test_chat_openai_in_every_situation(serve: Serve, model: FakeBackend, situation: Situation) -> None:
    async with serve(model) as url:
        chat = chat_of(url)
        try:
            if situation.streamed:
                seen = seen_in(await streamed(chat, situation.asks))
            else:
                seen = seen_in(await chat.ainvoke(messages(situation.asks)))
        except openai.APIStatusError as error:
            seen = Seen(status=error.status_code, code=error.code)

    situation.check(seen)


async def test_usage_arrives(serve: Serve, model: FakeBackend) -> None:
    async with serve(model) as url:
        answers = [await streamed(chat_of(url), TRANSLATE), await chat_of(url).ainvoke(messages(TRANSLATE))]

    for answer in answers:
        assert answer.content == SAFE
        assert answer.usage_metadata is not None
        assert answer.usage_metadata["total_tokens"] == USAGE["total_tokens"]


async def test_a_backend_that_breaks_off_raises(serve: Serve, model: FakeBackend) -> None:
    async with serve(model) as url:
        with pytest.raises(openai.APIError) as caught:
            await streamed(chat_of(url), BREAK_OFF)

    assert caught.value.code == "backend_incomplete"


@pytest.mark.parametrize(("city", "finish"), [("Oslo", "tool_calls"), (HARM, "content_filter")])
async def test_a_tool_call_arrives_whole_or_not_at_all(serve: Serve, backend: FakeBackend, city: str, finish: str) -> None:
    def weather(city: str) -> str:
        """Tell the weather in a city."""
        raise NotImplementedError(city)  # only its description is sent

    begin: Event = {"index": 0, "id": "call_1", "type": "function", "function": {"name": "weather", "arguments": ""}}
    arguments = json.dumps({"city": city})
    pieces = [arguments[i : i + 4] for i in range(0, len(arguments), 4)]
    calls = [begin, *({"index": 0, "function": {"arguments": piece}} for piece in pieces)]
    deltas = [event({"role": "assistant", "content": None}), *(event({"tool_calls": [call]}) for call in calls)]
    backend.answer = Answer.stream(*deltas, event({}, "tool_calls"))
    async with serve(backend) as url:
        message = added([part async for part in chat_of(url).bind_tools([weather]).astream("How is the weather?")])

    assert [each["function"]["name"] for each in backend.requests[0].body["tools"]] == ["weather"]  # type: ignore[call-overload, index, union-attr]  # tools as the client wrote them
    assert message.response_metadata["finish_reason"] == finish
    made = [(call["name"], call["args"]) for call in message.tool_calls]
    assert made == ([("weather", {"city": city})] if finish == "tool_calls" else [])
