"""Streams over real sockets: what of them reaches the client, and how they end."""

from __future__ import annotations

import asyncio
import json

import aiohttp
import pytest

from safety_proxy.sse import encode
from safety_proxy.testing import Answer, FakeBackend
from tests.server.conftest import HARM, OUTAGE, Serve, scripted
from tests.server.wire import CHAT, SAFE, asks, content, event, finishes, plain, post, received, stream, whole, words


async def test_a_safe_stream_arrives_as_it_was_sent(serve: Serve, backend: FakeBackend, http: aiohttp.ClientSession) -> None:
    usage = {**event({}), "choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}}
    sent = [*words(SAFE), usage]
    backend.answer = Answer.stream(*sent)
    async with serve(backend) as url:
        events = await stream(http, url, stream_options={"include_usage": True})

    assert plain(events) == sent
    assert events[0]["prompt_filter_results"][0]["content_filter_results"]["hate"] == {"filtered": False, "severity": "safe"}
    assert events[1]["choices"][0]["content_filter_results"]["violence"] == {"filtered": False, "severity": "safe"}


async def test_the_head_tells_policy_mode_decision_and_id(
    serve: Serve, backend: FakeBackend, http: aiohttp.ClientSession
) -> None:
    backend.answer = Answer.stream(*words("Hi"))
    async with (
        serve(backend) as url,
        http.post(url + CHAT, json=asks(stream=True), headers={"x-request-id": "abc-1"}) as response,
    ):
        assert response.headers["Content-Type"] == "text/event-stream; charset=utf-8"
        assert response.headers["x-safety-proxy-policy"].startswith("test@")
        assert response.headers["x-safety-proxy-mode"] == "buffered"
        assert response.headers["x-safety-proxy-decision"] == "allow"
        assert response.headers["x-request-id"] == "abc-1"

    assert backend.requests[0].headers["x-request-id"] == "abc-1"


@pytest.mark.parametrize("size", [1, 3, 7, 1000])
@pytest.mark.parametrize("place", [0, 75, 150, 333])
async def test_a_violation_cuts_the_stream_and_nothing_of_it_was_sent(
    serve: Serve, backend: FakeBackend, http: aiohttp.ClientSession, size: int, place: int
) -> None:
    backend.answer = Answer.stream(*words(SAFE[:place] + HARM + SAFE[place:], size=size))
    async with serve(backend) as url:
        events = await stream(http, url)

    assert finishes(events) == {0: ["content_filter"]}
    assert events[-1]["choices"][0]["content_filter_results"]["violence"] == {"filtered": True, "severity": "high"}
    assert SAFE[:place].startswith(content(events))


async def test_a_violation_closes_the_connection_to_the_backend(
    serve: Serve, backend: FakeBackend, http: aiohttp.ClientSession
) -> None:
    never = asyncio.Event()
    backend.answer = Answer([*Answer.stream(*words(HARM + SAFE)).pieces[:-2], never])
    async with serve(backend) as url, asyncio.timeout(5):
        events = await stream(http, url)
        await backend.left.wait()

    assert finishes(events) == {0: ["content_filter"]}


async def test_a_stopped_stream_has_usage_if_it_was_asked_for(
    serve: Serve, backend: FakeBackend, http: aiohttp.ClientSession
) -> None:
    backend.answer = Answer.stream(*words(HARM + SAFE))
    async with serve(backend) as url:
        events = await stream(http, url, stream_options={"include_usage": True})

    assert events[-1]["choices"] == []
    assert events[-1]["usage"]["completion_tokens"] > len(HARM) / 4


async def test_one_choice_is_filtered_and_the_other_arrives(
    serve: Serve, backend: FakeBackend, http: aiohttp.ClientSession
) -> None:
    both = [e for pair in zip(words(SAFE, 0), words(SAFE[:90] + HARM + SAFE, 1), strict=False) for e in pair]
    backend.answer = Answer.stream(*both)
    async with serve(backend) as url:
        events = await stream(http, url, n=2)

    assert finishes(events) == {0: ["stop"], 1: ["content_filter"]}
    assert content(events, 0) == SAFE
    assert SAFE[:90].startswith(content(events, 1))


async def test_a_classifier_failure_ends_in_content_filter_error(
    serve: Serve, backend: FakeBackend, http: aiohttp.ClientSession
) -> None:
    backend.answer = Answer.stream(*words(OUTAGE + SAFE))
    async with serve(backend) as url:
        events = await stream(http, url)

    assert finishes(events) == {0: ["content_filter_error"]}
    assert content(events) == ""
    assert events[-1]["choices"][0]["content_filter_results"]["error"]["code"] == "content_filter_error"


async def test_a_policy_may_let_unjudged_text_pass_and_says_so(
    serve: Serve, backend: FakeBackend, http: aiohttp.ClientSession
) -> None:
    backend.answer = Answer.stream(*words(OUTAGE))
    policy = "version: 1\nname: test\nclassifiers: [embedded]\ninput: {}\noutput: {on_error: allow}\n"
    async with serve(backend, policy=policy) as url:
        events = await stream(http, url)

    assert finishes(events) == {0: ["stop"]}
    assert content(events) == OUTAGE
    assert events[1]["choices"][0]["content_filter_results"]["error"]["code"] == "content_filter_error"


async def test_annotations_can_be_switched_off(serve: Serve, backend: FakeBackend, http: aiohttp.ClientSession) -> None:
    backend.answer = Answer.stream(*words("Hi"))
    policy = "version: 1\nname: test\nclassifiers: [embedded]\nannotations: false\ninput: {}\noutput: {}\n"
    async with serve(backend, policy=policy) as url:
        events = await stream(http, url)

    assert events == words("Hi")


async def test_mode_whole_shows_nothing_before_all_is_judged(
    serve: Serve, backend: FakeBackend, http: aiohttp.ClientSession
) -> None:
    classifier = scripted()
    backend.answer = Answer.stream(*words(SAFE))
    policy = "version: 1\nname: test\nclassifiers: [embedded]\ninput: {}\noutput: {stream: {mode: whole}}\n"
    async with serve(backend, policy=policy, classifier=classifier) as url:
        events = await stream(http, url)

    assert content(events) == SAFE
    assert [query.text for query in classifier.asked if query.kind == "completion"] == [SAFE]


@pytest.mark.parametrize("ending", [b"\n\n", b"\r\n\r\n", b"\r\r", b"\n: ping\n\n"])
async def test_the_backends_line_ends_and_comments_do_not_reach_the_client(
    serve: Serve, backend: FakeBackend, http: aiohttp.ClientSession, ending: bytes
) -> None:
    raw = b"".join(b"data:" + json.dumps(each).encode() + ending for each in words("Hi there"))
    backend.answer = Answer([b"\xef\xbb\xbf: hello\n\n", raw, b"data: [DONE]"])
    async with serve(backend) as url:
        events = await stream(http, url)

    assert plain(events) == words("Hi there")


async def test_characters_cut_in_two_by_the_network_arrive_whole(
    serve: Serve, backend: FakeBackend, http: aiohttp.ClientSession
) -> None:
    raw = b"".join(
        encode(json.dumps(each, ensure_ascii=False).encode()) for each in words("naïve — 日本語 \u2028 🎉", size=3)
    )
    backend.answer = Answer([*(raw[i : i + 1] for i in range(len(raw))), b"data: [DONE]\n\n"])
    async with serve(backend) as url:
        events = await stream(http, url)

    assert content(events) == "naïve — 日本語 \u2028 🎉"


async def test_several_choices_in_one_event_are_taken_apart(
    serve: Serve, backend: FakeBackend, http: aiohttp.ClientSession
) -> None:
    both = event({"content": "one"})
    both["choices"].append({"index": 1, "delta": {"content": HARM}, "finish_reason": None})
    ends = event({}, "stop")
    ends["choices"].append({"index": 1, "delta": {}, "finish_reason": "stop"})
    backend.answer = Answer.stream(both, ends)
    async with serve(backend) as url:
        events = await stream(http, url, n=2)

    assert finishes(events) == {0: ["stop"], 1: ["content_filter"]}
    assert content(events) == "one"


async def test_a_missing_done_is_added(serve: Serve, backend: FakeBackend, http: aiohttp.ClientSession) -> None:
    backend.answer = Answer.stream(*words("Hi"), done=False)
    async with serve(backend) as url:
        assert finishes(await stream(http, url)) == {0: ["stop"]}


@pytest.mark.parametrize(
    "answer",
    [
        Answer.stream(*words("Hi there")[:-1], done=False),
        Answer([*Answer.stream(*words("Hi there")[:-1], done=False).pieces], abort=True),
        Answer.stream(*words("Hi there")[:-1], {"error": {"message": f"secret {HARM}", "code": 500}}),
        Answer.stream(*words("Hi there")[:-1], b'error: {"message": "secret"}\n\n'),
        Answer.stream(*words("Hi there")[:-1], {"object": "error", "message": "secret"}),
        Answer.stream(*words("Hi there")[:-1], b"data: {oops\n\n"),
        Answer.stream(*words("Hi there")[:-1], event({"content": "x"}, index=7)),
    ],
    ids=["cut", "reset", "error", "llama.cpp error", "old vLLM error", "no JSON", "odd index"],
)
async def test_a_failure_in_mid_stream_is_told_and_never_ends_in_stop(
    serve: Serve, backend: FakeBackend, http: aiohttp.ClientSession, answer: Answer
) -> None:
    backend.answer = answer
    async with serve(backend) as url:
        events = await stream(http, url)

    assert content(events) == "Hi there"
    assert finishes(events) == {0: ["error"]}
    assert events[-1]["error"]["message"]
    assert "secret" not in json.dumps(events)


async def test_json_in_place_of_a_stream_is_answered_as_a_stream(
    serve: Serve, backend: FakeBackend, http: aiohttp.ClientSession
) -> None:
    backend.answer = Answer.json(whole(SAFE, SAFE[:99] + HARM))
    async with serve(backend) as url:
        events = await stream(http, url, n=2)

    assert finishes(events) == {0: ["stop"], 1: ["content_filter"]}
    assert content(events) == SAFE
    assert HARM not in json.dumps(events)


async def test_any_other_content_type_is_a_bad_gateway(
    serve: Serve, backend: FakeBackend, http: aiohttp.ClientSession
) -> None:
    backend.answer = Answer([b"<html>secret</html>"], headers={"Content-Type": "text/html"})
    async with serve(backend) as url:
        status, body = await post(http, url, asks(stream=True))

    assert status == 502
    assert b"secret" not in body


async def test_a_client_that_leaves_ends_the_backend_call(
    serve: Serve, backend: FakeBackend, http: aiohttp.ClientSession
) -> None:
    backend.answer = Answer([*Answer.stream(*words(SAFE), done=False).pieces[:-1], asyncio.Event()])
    async with serve(backend) as url, asyncio.timeout(5):
        async with http.post(url + CHAT, json=asks(stream=True)) as response:
            await response.content.readany()
        async with asyncio.timeout(1):
            await backend.left.wait()


@pytest.mark.parametrize("streamed", [True, False])
async def test_a_client_that_leaves_before_the_first_byte_ends_the_backend_call(
    serve: Serve, backend: FakeBackend, http: aiohttp.ClientSession, streamed: bool
) -> None:
    backend.answer = Answer([asyncio.Event()])

    async def call(url: str) -> None:
        await post(http, url, asks(stream=streamed))

    async with serve(backend) as url, asyncio.timeout(5):
        calling = asyncio.get_running_loop().create_task(call(url))
        await backend.asked.wait()
        calling.cancel()
        async with asyncio.timeout(1):
            await backend.left.wait()
        with pytest.raises(asyncio.CancelledError):
            await calling


async def test_streams_side_by_side_get_their_own_text_and_their_own_decision(
    serve: Serve, backend: FakeBackend, http: aiohttp.ClientSession
) -> None:
    def text(number: int) -> str:
        return f"This is number {number}. " * 20 + (HARM if number % 3 == 0 else "")

    backend.answer = lambda asked: Answer.stream(*words(text(int(str(asked.body["user"])))))
    async with serve(backend) as url, asyncio.TaskGroup() as group:
        tasks = [group.create_task(stream(http, url, user=str(number))) for number in range(60)]

    for number, task in enumerate(tasks):
        events = task.result()
        assert finishes(events) == {0: ["content_filter" if number % 3 == 0 else "stop"]}
        assert text(number).startswith(content(events))
        assert f"number {number}." in content(events)


async def test_heartbeats_keep_a_held_stream_alive(serve: Serve, backend: FakeBackend, http: aiohttp.ClientSession) -> None:
    gate = asyncio.Event()
    backend.answer = Answer(
        [*Answer.stream(*words("Hi")[:2], done=False).pieces, gate, *Answer.stream(*words("Hi")[2:]).pieces]
    )
    policy = "version: 1\nname: test\nclassifiers: [embedded]\ninput: {}\noutput: {stream: {heartbeat: 100ms}}\n"
    async with serve(backend, policy=policy) as url, http.post(url + CHAT, json=asks(stream=True)) as response:
        body = b""
        async with asyncio.timeout(5):
            while body.count(b"data: ") < 3:
                body += await response.content.readany()
        gate.set()
        events = received(body + await response.read())

    assert content(events) == "Hi"
    assert finishes(events) == {0: ["stop"]}
    assert {each["id"] for each in events} == {"chatcmpl-1"}
