"""Answers of the serverless Llama API through a running proxy: every field that its tables promise arrives as sent."""

from __future__ import annotations

import json

import aiohttp
import pytest

from safety_proxy.testing import Answer, FakeBackend
from tests.server.conftest import HARM, OUTAGE, Serve
from tests.server.wire import SAFE, Event, finishes, plain, post, received

CHAT, TEXT = "/v1/chat/completions", "/v1/completions"
ROUTES = [CHAT, TEXT]
TOKENS = ["The ", "Moon ", "is ", "far."]
OFFSETS = ["text_offsets", "text_offset"]
"""The spelling of the tables, and that of OpenAI and vLLM."""

TEXT_EXAMPLE: Event = {
    "id": "12345678-1234-1234-1234-abcdefghijkl",
    "object": "text_completion",
    "created": 217877,
    "choices": [{"index": 0, "text": "The Moon is far.", "logprobs": None, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 7, "total_tokens": 23, "completion_tokens": 16},
}
CHAT_EXAMPLE: Event = {
    "id": "12345678-1234-1234-1234-abcdefghijkl",
    "object": "chat.completion",
    "created": 2012359,
    "model": "",
    "choices": [
        {
            "index": 0,
            "finish_reason": "stop",
            "message": {"role": "assistant", "content": 'Sure: "Amo la\n* programmazione"'},
        }
    ],
    "usage": {"prompt_tokens": 10, "total_tokens": 40, "completion_tokens": 30},
}


def ask(route: str, **more: object) -> Event:
    asked: Event = {"messages": [{"role": "user", "content": "hello"}]} if route == CHAT else {"prompt": "hello"}
    return {"model": "m", **asked, **more}


def logprobs(offsets: str, tokens: list[str], start: int = 0) -> Event:
    """The logprobs object of the tables, for *tokens* that begin at *start*."""
    places = [start + len("".join(tokens[:i])) for i in range(len(tokens))]
    return {
        offsets: places,
        "token_logprobs": [-0.25] * len(tokens),
        "tokens": tokens,
        "top_logprobs": [{token: -0.25, "Mars": -2.5} for token in tokens],
    }


def answer(route: str, *choices: Event) -> Event:
    return {
        "id": "cmp-1",
        "object": "chat.completion" if route == CHAT else "text_completion",
        "created": 1,
        "model": "Meta-Llama-3.1-405B-Instruct",
        "choices": list(choices),
        "usage": {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3},
    }


def choice(route: str, text: str, index: int = 0, finish: str | None = "stop", **more: object) -> Event:
    said: Event = {"message": {"role": "assistant", "content": text}} if route == CHAT else {"text": text}
    return {"index": index, **said, "finish_reason": finish, **more}


def event(route: str, text: str, index: int = 0, finish: str | None = None, **more: object) -> Event:
    said: Event = {"delta": {"content": text}} if route == CHAT else {"text": text}
    return {
        "id": "cmp-1",
        "object": "chat.completion.chunk" if route == CHAT else "text_completion",
        "created": 1,
        "model": "Meta-Llama-3.1-405B-Instruct",
        "choices": [{"index": index, **said, "finish_reason": finish, **more}],
    }


async def whole_answer(http: aiohttp.ClientSession, url: str, route: str, **more: object) -> Event:
    status, body = await post(http, url, ask(route, **more), route)
    assert status == 200, body
    [got] = plain([json.loads(body)])
    return got


async def streamed(http: aiohttp.ClientSession, url: str, route: str, **more: object) -> list[Event]:
    status, body = await post(http, url, ask(route, stream=True, **more), route)
    assert status == 200, body
    return plain(received(body))


@pytest.mark.parametrize(("route", "sent"), [(CHAT, CHAT_EXAMPLE), (TEXT, TEXT_EXAMPLE)])
async def test_answers_like_the_examples_arrive_as_they_were_sent(
    serve: Serve, backend: FakeBackend, http: aiohttp.ClientSession, route: str, sent: Event
) -> None:
    """The text example has no `model`, the chat example an empty one, and its choices no `logprobs`."""
    backend.answer = Answer.json(sent)
    async with serve(backend) as url:
        assert await whole_answer(http, url, route) == sent


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("reason", ["stop", "length", "content_filter", "content_filter_error", None])
async def test_every_finish_reason_of_the_tables_arrives(
    serve: Serve, backend: FakeBackend, http: aiohttp.ClientSession, route: str, reason: str | None
) -> None:
    sent = answer(route, choice(route, "Hi", finish=reason))
    backend.answer = Answer.json(sent)
    async with serve(backend) as url:
        assert await whole_answer(http, url, route) == sent


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("reason", ["stop", "length", "content_filter", "content_filter_error"])
async def test_in_a_stream_the_finish_reason_is_null_but_in_the_last_block_before_done(
    serve: Serve, backend: FakeBackend, http: aiohttp.ClientSession, route: str, reason: str
) -> None:
    sent = [*(event(route, token) for token in TOKENS), event(route, "", finish=reason)]
    backend.answer = Answer.stream(*sent)
    async with serve(backend) as url:
        got = await streamed(http, url, route)

    assert got == sent
    assert [block["choices"][0]["finish_reason"] for block in got] == [None] * len(TOKENS) + [reason]


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("harm", [HARM, OUTAGE])
async def test_a_reason_of_ours_stands_in_the_last_block_too(
    serve: Serve, backend: FakeBackend, http: aiohttp.ClientSession, route: str, harm: str
) -> None:
    backend.answer = Answer.stream(
        *(event(route, text) for text in (*TOKENS * 40, harm, *TOKENS)), event(route, "", 0, "stop")
    )
    async with serve(backend) as url:
        got = await streamed(http, url, route)

    reason = "content_filter" if harm == HARM else "content_filter_error"
    assert [block["choices"][0]["finish_reason"] for block in got] == [None] * (len(got) - 1) + [reason]
    assert len(got) > 1


@pytest.mark.parametrize("route", ROUTES)
async def test_figures_in_the_last_block_of_a_stream_arrive(
    serve: Serve, backend: FakeBackend, http: aiohttp.ClientSession, route: str
) -> None:
    usage = {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}
    sent = [event(route, "Hi"), {**event(route, "", finish="stop"), "usage": usage}]
    backend.answer = Answer.stream(*sent)
    async with serve(backend) as url:
        assert await streamed(http, url, route) == sent


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("order", [(1, 0), (2, 0, 1)])
async def test_choices_out_of_order_arrive_in_the_order_and_with_the_index_they_were_sent_with(
    serve: Serve, backend: FakeBackend, http: aiohttp.ClientSession, route: str, order: tuple[int, ...]
) -> None:
    sent = answer(route, *(choice(route, f"choice {index}", index) for index in order))
    backend.answer = Answer.json(sent)
    async with serve(backend) as url:
        assert await whole_answer(http, url, route, n=len(order), best_of=len(order) + 1) == sent


@pytest.mark.parametrize("route", ROUTES)
async def test_of_choices_out_of_order_the_harmful_one_is_filtered(
    serve: Serve, backend: FakeBackend, http: aiohttp.ClientSession, route: str
) -> None:
    backend.answer = Answer.json(answer(route, choice(route, "fine", 2), choice(route, HARM, 0), choice(route, "fine", 1)))
    async with serve(backend) as url:
        got = await whole_answer(http, url, route, n=3, best_of=5)

    reasons = [(each["index"], each["finish_reason"]) for each in got["choices"]]
    assert reasons == [(2, "stop"), (0, "content_filter"), (1, "stop")]
    assert HARM not in json.dumps(got)


@pytest.mark.parametrize("route", ROUTES)
async def test_choices_interleaved_in_a_stream_arrive_as_they_were_sent(
    serve: Serve, backend: FakeBackend, http: aiohttp.ClientSession, route: str
) -> None:
    sent = [event(route, token, index) for token in TOKENS for index in (2, 0, 1)]
    sent += [event(route, "", index, "stop") for index in (1, 2, 0)]
    backend.answer = Answer.stream(*sent)
    async with serve(backend) as url:
        got = await streamed(http, url, route, n=3)

    for index in range(3):
        assert [e for e in got if e["choices"][0]["index"] == index] == [
            e for e in sent if e["choices"][0]["index"] == index
        ]
    assert len(got) == len(sent)
    assert finishes(got) == {0: ["stop"], 1: ["stop"], 2: ["stop"]}


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("offsets", OFFSETS)
async def test_logprobs_arrive_with_the_spelling_of_the_backend(
    serve: Serve, backend: FakeBackend, http: aiohttp.ClientSession, route: str, offsets: str
) -> None:
    sent = answer(route, choice(route, "".join(TOKENS), logprobs=logprobs(offsets, TOKENS)))
    backend.answer = Answer.json(sent)
    async with serve(backend) as url:
        assert await whole_answer(http, url, route, logprobs=1) == sent


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("offsets", OFFSETS)
async def test_logprobs_travel_with_the_block_they_belong_to(
    serve: Serve, backend: FakeBackend, http: aiohttp.ClientSession, route: str, offsets: str
) -> None:
    starts = [len("".join(TOKENS[:i])) for i in range(len(TOKENS))]
    sent = [
        event(route, token, logprobs=logprobs(offsets, [token], start)) for token, start in zip(TOKENS, starts, strict=True)
    ]
    sent.append(event(route, "", finish="stop", logprobs=None))
    backend.answer = Answer.stream(*sent)
    async with serve(backend) as url:
        assert await streamed(http, url, route, logprobs=1) == sent


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("offsets", OFFSETS)
async def test_a_filtered_choice_has_no_logprobs(
    serve: Serve, backend: FakeBackend, http: aiohttp.ClientSession, route: str, offsets: str
) -> None:
    tokens = [f"{word} " for word in HARM.split()]
    backend.answer = Answer.json(answer(route, choice(route, "".join(tokens), logprobs=logprobs(offsets, tokens))))
    async with serve(backend) as url:
        [got] = (await whole_answer(http, url, route, logprobs=1))["choices"]

    assert (got["finish_reason"], got["logprobs"]) == ("content_filter", None)
    assert "tonight" not in json.dumps(got)


# ------------------------------------------------------------------------------------------- "messages" for "message"


def native(text: str) -> Event:
    """A choice as the table, not the example, has it."""
    return {"index": 0, "messages": {"role": "assistant", "content": text}, "finish_reason": "stop", "logprobs": None}


@pytest.mark.parametrize(
    "messages", [{"role": "assistant", "content": SAFE}, SAFE, [{"role": "assistant", "content": SAFE}]]
)
async def test_a_choice_with_messages_arrives_as_it_was_sent(
    serve: Serve, backend: FakeBackend, http: aiohttp.ClientSession, messages: object
) -> None:
    sent = answer(CHAT, {**native(""), "messages": messages})
    backend.answer = Answer.json(sent)
    async with serve(backend) as url:
        assert await whole_answer(http, url, CHAT) == sent


@pytest.mark.parametrize("text", [HARM, SAFE + HARM + SAFE])
@pytest.mark.parametrize("stream", [False, True])
async def test_the_text_of_messages_is_judged_and_withheld(
    serve: Serve, backend: FakeBackend, http: aiohttp.ClientSession, text: str, *, stream: bool
) -> None:
    shapes: list[object] = [{"role": "assistant", "content": text}, text, [{"role": "assistant", "content": text}]]
    async with serve(backend) as url:
        for messages in shapes:
            backend.answer = Answer.json(answer(CHAT, {**native(""), "messages": messages}))
            got = await streamed(http, url, CHAT) if stream else [await whole_answer(http, url, CHAT)]
            assert finishes(got) == {0: ["content_filter"]}
            assert HARM not in json.dumps(got)


async def test_an_escaped_word_in_a_tool_call_of_messages_is_judged(
    serve: Serve, backend: FakeBackend, http: aiohttp.ClientSession
) -> None:
    arguments = json.dumps({"a": HARM}).replace("k", "\\u006b")
    call = {"id": "1", "type": "function", "function": {"name": "f", "arguments": arguments}}
    said = {"role": "assistant", "content": None, "tool_calls": [call]}
    backend.answer = Answer.json(answer(CHAT, {**native(""), "messages": said}))
    async with serve(backend) as url:
        assert finishes([await whole_answer(http, url, CHAT)]) == {0: ["content_filter"]}


async def test_where_a_stream_was_asked_for_messages_become_delta(
    serve: Serve, backend: FakeBackend, http: aiohttp.ClientSession
) -> None:
    backend.answer = Answer.json(answer(CHAT, native(SAFE)))
    async with serve(backend) as url:
        [got] = await streamed(http, url, CHAT)

    assert got["choices"] == [
        {"index": 0, "delta": {"role": "assistant", "content": SAFE}, "finish_reason": "stop", "logprobs": None}
    ]
