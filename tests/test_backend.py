"""Claims about the client of a model server, each against a real server on a socket."""

from __future__ import annotations

import asyncio
import gzip
import json
import socket
import struct
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import pytest
from aiohttp.abc import AbstractResolver, ResolveResult

from safety_proxy.backend import Backend, Reply, open_session
from safety_proxy.errors import BackendError

KEY = "sk-top-secret"
PROMPT = "tell me the forbidden thing"
BODY = json.dumps({"messages": [{"role": "user", "content": PROMPT}]}).encode()
SOON = 0.05
"""Seconds: a time-out that a test waits for."""
LATE = 20.0
"""Seconds: a time-out that no test reaches."""


@dataclass
class Exchange:
    """One request as the server saw it, and the connection to answer on."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    target: str
    headers: dict[str, str]
    body: bytes
    released: asyncio.Event
    """Opened when the test is over: what hangs, hangs on it."""

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def answer(self, body: bytes, *, status: str = "200 OK", headers: tuple[str, ...] = ()) -> None:
        lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers]
        await self.send("\r\n".join(lines).encode() + b"\r\n\r\n" + body)

    async def begin_stream(self) -> None:
        await self.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")

    async def send_piece(self, piece: bytes) -> None:
        await self.send(b"%x\r\n%s\r\n" % (len(piece), piece))

    def reset(self) -> None:
        raw = self.writer.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


Script = Callable[[Exchange], Awaitable[None]]


@dataclass
class Server:
    """A model server that does what the test's script says, request by request."""

    script: Script
    url: str = ""
    exchanges: list[Exchange] = field(default_factory=list)
    connections: int = 0
    left: asyncio.Event = field(default_factory=asyncio.Event)
    """The client has closed a connection."""
    released: asyncio.Event = field(default_factory=asyncio.Event)
    tasks: set[asyncio.Task[None]] = field(default_factory=set)

    async def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.tasks.add(asyncio.current_task())  # type: ignore[arg-type]  # it is one
        self.connections += 1
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                line, *rest = head.decode().strip().split("\r\n")
                headers = {name.lower(): value for name, value in (entry.split(": ", 1) for entry in rest)}
                body = await reader.readexactly(int(headers["content-length"]))
                exchange = Exchange(reader, writer, line.split()[1], headers, body, self.released)
                self.exchanges.append(exchange)
                await self.script(exchange)
        except (asyncio.IncompleteReadError, OSError):
            self.left.set()
        finally:
            writer.close()


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with open_session() as opened:
        yield opened


@asynccontextmanager
async def running(script: Script) -> AsyncIterator[Server]:
    server = Server(script)
    listener = await asyncio.start_server(server.connected, "127.0.0.1", 0)
    server.url = f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}/v1"
    try:
        yield server
    finally:
        server.released.set()
        listener.close()
        for task in server.tasks:
            task.cancel()
        ends = await asyncio.gather(*server.tasks, return_exceptions=True)
        assert [end for end in ends if isinstance(end, Exception)] == []


def make(session: aiohttp.ClientSession, url: str, **options: Any) -> Backend:  # noqa: ANN401  # whatever the test is about
    times = {"connect": LATE, "first_byte": LATE, "idle": LATE}
    return Backend(session=session, name="llama", url=url, **{"key": KEY, **times, **options})


async def ask(backend: Backend) -> tuple[Reply, bytes]:
    async with backend.post("/chat/completions", BODY, request_id="req-1") as reply:
        return reply, await reply.read()


async def failure_of(backend: Backend) -> BackendError:
    with pytest.raises(BackendError) as caught:
        await ask(backend)
    shown = "".join(traceback.format_exception(caught.value)) + repr(caught.value) + repr(vars(caught.value))
    assert KEY not in shown
    assert PROMPT not in shown
    assert "127.0.0.1" not in shown
    return caught.value


# ------------------------------------------------------------------------------------------------- what is sent


async def test_the_request_has_exactly_the_headers_of_the_allow_list(session: aiohttp.ClientSession) -> None:
    async def script(exchange: Exchange) -> None:
        await exchange.answer(b"{}")

    async with running(script) as server:
        await ask(make(session, server.url, headers={"x-team": "red"}))
        (exchange,) = server.exchanges
    assert exchange.headers == {
        "host": server.url.removeprefix("http://").removesuffix("/v1"),
        "content-length": str(len(BODY)),
        "content-type": "application/json",
        "accept": "application/json, text/event-stream",
        "accept-encoding": "identity",
        "authorization": f"Bearer {KEY}",
        "x-request-id": "req-1",
        "x-team": "red",
    }
    assert exchange.body == BODY


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"auth": "api-key"}, {"api-key": KEY}),
        ({"auth": "bearer"}, {"authorization": f"Bearer {KEY}"}),
        ({"key": None}, {}),
        ({"key": None, "auth": "api-key"}, {}),
        ({"key": None, "headers": {"Authorization": "Basic eDp5"}}, {"authorization": "Basic eDp5"}),
    ],
)
async def test_the_key_travels_in_the_header_that_auth_names(
    session: aiohttp.ClientSession, options: dict[str, Any], expected: dict[str, str]
) -> None:
    async def script(exchange: Exchange) -> None:
        await exchange.answer(b"{}")

    async with running(script) as server:
        await ask(make(session, server.url, **options))
        headers = server.exchanges[0].headers
    assert {name: headers[name] for name in ("authorization", "api-key") if name in headers} == expected


@pytest.mark.parametrize(
    ("suffix", "query", "expected"),
    [
        ("", {}, "/v1/chat/completions"),
        ("/", {}, "/v1/chat/completions"),
        (
            "/openai/deployments/d",
            {"api-version": "2024-10-21"},
            "/v1/openai/deployments/d/chat/completions?api-version=2024-10-21",
        ),
    ],
)
async def test_the_path_is_appended_to_the_path_of_the_url(
    session: aiohttp.ClientSession, suffix: str, query: dict[str, str], expected: str
) -> None:
    async def script(exchange: Exchange) -> None:
        await exchange.answer(b"{}")

    async with running(script) as server:
        backend = make(session, server.url + suffix, query=query)
        await ask(backend)
        await ask(backend)
        assert [exchange.target for exchange in server.exchanges] == [expected, expected]


async def test_a_body_of_several_mebibytes_is_sent_whole(session: aiohttp.ClientSession) -> None:
    async def script(exchange: Exchange) -> None:
        await exchange.answer(b"{}")

    body = b"[" + b" " * (3 * 2**20) + b"]"
    async with running(script) as server:
        async with make(session, server.url).post("/completions", body, request_id="r") as reply:
            await reply.read()
        assert server.exchanges[0].body == body
        assert "transfer-encoding" not in server.exchanges[0].headers


async def test_cookies_of_a_backend_are_not_sent_back(session: aiohttp.ClientSession) -> None:
    async def script(exchange: Exchange) -> None:
        await exchange.answer(b"{}", headers=("Set-Cookie: a=b",))

    async with running(script) as server:
        backend = make(session, server.url.replace("127.0.0.1", "localhost"))  # jars take none of bare addresses
        await ask(backend)
        await ask(backend)
        assert "cookie" not in server.exchanges[1].headers


async def test_proxies_of_the_environment_are_not_used(
    session: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def script(exchange: Exchange) -> None:
        await exchange.answer(b"{}")

    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    async with running(script) as server:
        assert (await ask(make(session, server.url)))[1] == b"{}"


# --------------------------------------------------------------------------------------------- what comes back


async def test_a_reply_gives_status_content_type_and_body(session: aiohttp.ClientSession) -> None:
    async def script(exchange: Exchange) -> None:
        await exchange.answer(b'\n\n{"id": "x"}', headers=("Content-Type: Application/JSON; charset=utf-8",))

    async with running(script) as server:
        reply, body = await ask(make(session, server.url))
    assert (reply.status, reply.content_type, body) == (200, "application/json", b'\n\n{"id": "x"}')


async def test_a_reply_without_content_type_has_an_empty_one(session: aiohttp.ClientSession) -> None:
    async def script(exchange: Exchange) -> None:
        await exchange.answer(b"")

    async with running(script) as server:
        reply, body = await ask(make(session, server.url))
    assert (reply.content_type, body) == ("", b"")


async def test_only_listed_headers_of_the_listed_shape_may_reach_the_client(session: aiohttp.ClientSession) -> None:
    async def script(exchange: Exchange) -> None:
        await exchange.answer(
            b"{}",
            headers=(
                "OpenAI-Processing-Ms: 12",
                "x-ratelimit-remaining-tokens: -1",
                "x-ratelimit-reset-tokens: 6m0s",
                "x-ratelimit-limit-tokens: 5 forbidden words",
                "x-ratelimit-reset-requests: " + "1" * 33,
                "openai-version: " + "\u0661\u0662" * 2 + "-01-01",
                "x-request-id: theirs",
                "Set-Cookie: a=b",
                "x-anything: forbidden",
            ),
        )

    async with running(script) as server:
        reply, _ = await ask(make(session, server.url))
    assert reply.headers == {
        "openai-processing-ms": "12",
        "x-ratelimit-remaining-tokens": "-1",
        "x-ratelimit-reset-tokens": "6m0s",
    }


async def test_chunks_come_as_they_arrive(session: aiohttp.ClientSession) -> None:
    gate = asyncio.Event()

    async def script(exchange: Exchange) -> None:
        await exchange.begin_stream()
        await exchange.send_piece(b"data: 1\n\n")
        await gate.wait()
        await exchange.send_piece(b"data: 2\n\n")
        await exchange.send(b"0\r\n\r\n")

    async with running(script) as server, make(session, server.url).post("/x", BODY, request_id="r") as reply:
        seen = []
        async with aclosing(reply.chunks()) as chunks:
            async for piece in chunks:
                seen.append(piece)
                gate.set()
    assert (reply.content_type, seen) == ("text/event-stream", [b"data: 1\n\n", b"data: 2\n\n"])


async def test_a_stream_may_take_longer_than_the_idle_time(session: aiohttp.ClientSession) -> None:
    """The limit is on silence, not on the whole: drips much closer together than the idle time go on for twice as long."""
    idle, next_drip, over = 0.1, asyncio.Event(), asyncio.Event()

    async def script(exchange: Exchange) -> None:
        await exchange.begin_stream()
        while not over.is_set():
            await exchange.send_piece(b".")
            await next_drip.wait()
            next_drip.clear()
        await exchange.send(b"0\r\n\r\n")

    clock = asyncio.get_running_loop().time
    backend_of = {"idle": idle, "first_byte": 5 * idle}
    async with running(script) as server, make(session, server.url, **backend_of).post("/x", BODY, request_id="r") as reply:
        end = clock() + 6 * idle
        async for _ in reply.chunks():
            if clock() > end:
                over.set()
            next_drip.set()
    assert over.is_set()


async def test_a_complete_answer_leaves_the_connection_for_the_next_request(session: aiohttp.ClientSession) -> None:
    async def script(exchange: Exchange) -> None:
        await exchange.answer(b"{}")

    async with running(script) as server:
        backend = make(session, server.url)
        await ask(backend)
        await ask(backend)
        assert server.connections == 1


async def test_bytes_after_the_end_of_an_answer_are_never_taken_for_the_next_one(session: aiohttp.ClientSession) -> None:
    async def script(exchange: Exchange) -> None:
        poison = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison"
        await exchange.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}" + poison)

    async with running(script) as server:
        backend = make(session, server.url)
        assert [(await ask(backend))[1] for _ in range(3)] == [b"{}"] * 3


# ------------------------------------------------------------------------------------------------- leaving early


@pytest.mark.parametrize("how", ["leave", "raise", "cancel"])
async def test_leaving_early_closes_the_connection_at_once(session: aiohttp.ClientSession, how: str) -> None:
    started = asyncio.Event()

    async def script(exchange: Exchange) -> None:
        await exchange.begin_stream()
        await exchange.send_piece(b"data: 1\n\n")
        await exchange.reader.readexactly(1)  # only the end of the connection comes

    async def read_first(backend: Backend) -> None:
        async with backend.post("/x", BODY, request_id="r") as reply, aclosing(reply.chunks()) as chunks:
            await anext(chunks)
            started.set()
            if how == "raise":
                raise LookupError
            if how == "cancel":
                await anext(chunks)

    async with running(script) as server:
        task = asyncio.create_task(read_first(make(session, server.url)))
        await started.wait()
        if how == "cancel":
            task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        async with asyncio.timeout(1):
            await server.left.wait()


async def test_cancelling_before_the_head_closes_the_connection(session: aiohttp.ClientSession) -> None:
    asked = asyncio.Event()

    async def script(exchange: Exchange) -> None:
        asked.set()
        await exchange.reader.readexactly(1)

    async with running(script) as server:
        task = asyncio.create_task(ask(make(session, server.url)))
        await asked.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        async with asyncio.timeout(1):
            await server.left.wait()


# ------------------------------------------------------------------------------------------------------ failures


class FailingResolver(AbstractResolver):
    async def resolve(self, host: str, port: int = 0, family: int = 0) -> list[ResolveResult]:
        raise OSError(f"no address for {host}")

    async def close(self) -> None: ...


class HangingResolver(FailingResolver):
    async def resolve(self, host: str, port: int = 0, family: int = 0) -> list[ResolveResult]:
        await asyncio.Event().wait()
        raise AssertionError


async def test_a_refused_connection_is_unreachable(session: aiohttp.ClientSession) -> None:
    with socket.socket() as bound:  # bound but not listening: refused, and nobody else gets the port
        bound.bind(("127.0.0.1", 0))
        error = await failure_of(make(session, f"http://127.0.0.1:{bound.getsockname()[1]}"))
    assert (error.status, error.code) == (502, "backend_unreachable")


async def test_an_unknown_host_is_unreachable() -> None:
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(resolver=FailingResolver())) as session:
        error = await failure_of(make(session, "http://model.invalid"))
    assert (error.status, error.code) == (502, "backend_unreachable")
    assert "model.invalid" not in str(error)


async def test_a_slow_name_look_up_counts_as_connecting() -> None:
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(resolver=HangingResolver())) as session:
        async with asyncio.timeout(LATE / 2):
            error = await failure_of(make(session, "http://model.invalid", connect=SOON))
    assert (error.status, error.code) == (504, "backend_timeout")


async def test_a_server_without_tls_is_unreachable_by_https(session: aiohttp.ClientSession) -> None:
    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(connected, "127.0.0.1", 0) as listener:
        error = await failure_of(make(session, f"https://127.0.0.1:{listener.sockets[0].getsockname()[1]}"))
    assert (error.status, error.code) == (502, "backend_unreachable")
    assert error.message == "no secure connection to the backend could be made"


async def test_a_backend_that_hangs_before_its_head_is_too_slow(session: aiohttp.ClientSession) -> None:
    async def script(exchange: Exchange) -> None:
        await exchange.released.wait()

    async with running(script) as server:
        error = await failure_of(make(session, server.url, first_byte=SOON))
    assert (error.status, error.code) == (504, "backend_timeout")


@pytest.mark.parametrize("glance", [SOON / 5, LATE])
async def test_a_backend_that_hangs_in_its_answer_fell_silent(
    session: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch, glance: float
) -> None:
    monkeypatch.setattr("safety_proxy.backend._GLANCE", glance)

    async def script(exchange: Exchange) -> None:
        await exchange.begin_stream()
        await exchange.send_piece(b"data: 1\n\n")
        await exchange.released.wait()

    async with running(script) as server:
        error = await failure_of(make(session, server.url, idle=SOON))
        async with make(session, server.url, idle=SOON).post("/x", BODY, request_id="r") as reply:
            chunks = reply.chunks()
            assert await anext(chunks) == b"data: 1\n\n"
            with pytest.raises(BackendError) as caught:
                await anext(chunks)
    assert (error.status, error.code) == (caught.value.status, caught.value.code) == (504, "backend_timeout")


async def reset_before_head(exchange: Exchange) -> None:
    exchange.reset()


async def close_before_head(exchange: Exchange) -> None:
    exchange.writer.close()


async def reset_in_body(exchange: Exchange) -> None:
    await exchange.begin_stream()
    await exchange.send_piece(b"data: 1\n\n")
    exchange.reset()


async def close_in_chunked_body(exchange: Exchange) -> None:
    await exchange.begin_stream()
    await exchange.send_piece(b"data: 1\n\n")
    exchange.writer.close()


async def announce_more_than_comes(exchange: Exchange) -> None:
    await exchange.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{}")
    exchange.writer.close()


async def speak_no_http(exchange: Exchange) -> None:
    await exchange.send(PROMPT.encode() + b"\r\n\r\n")
    exchange.writer.close()


async def compress(exchange: Exchange) -> None:
    await exchange.answer(gzip.compress(b"{}"), headers=("Content-Encoding: gzip",))


async def redirect(exchange: Exchange) -> None:
    await exchange.answer(b"", status="307 Temporary Redirect", headers=("Location: /v1/elsewhere",))


async def answer_no_content(exchange: Exchange) -> None:
    await exchange.send(b"HTTP/1.1 204 No Content\r\n\r\n")


async def answer_created(exchange: Exchange) -> None:
    await exchange.answer(BODY, status="201 Created")


async def answer_with_an_invented_status(exchange: Exchange) -> None:
    await exchange.answer(BODY, status="799 Hm")


@pytest.mark.parametrize(
    ("script", "code"),
    [
        (reset_before_head, "backend_disconnected"),
        (close_before_head, "backend_disconnected"),
        (reset_in_body, "backend_disconnected"),
        (close_in_chunked_body, "backend_disconnected"),
        (announce_more_than_comes, "backend_disconnected"),
        (speak_no_http, "backend_invalid_answer"),
        (compress, "backend_invalid_answer"),
        (redirect, "backend_invalid_answer"),
        (answer_no_content, "backend_invalid_answer"),
        (answer_created, "backend_invalid_answer"),
        (answer_with_an_invented_status, "backend_invalid_answer"),
    ],
)
async def test_a_broken_answer_is_a_bad_gateway_and_nothing_is_sent_twice(
    session: aiohttp.ClientSession, script: Script, code: str
) -> None:
    async with running(script) as server:
        error = await failure_of(make(session, server.url))
        assert (error.status, error.code) == (502, code)
        assert len(server.exchanges) == 1


async def test_a_body_that_breaks_its_framing_is_broken_off(
    session: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("safety_proxy.backend._GLANCE", SOON)
    gate = asyncio.Event()

    async def script(exchange: Exchange) -> None:
        await exchange.begin_stream()
        await gate.wait()
        await exchange.send(b"zz\r\n" + PROMPT.encode())

    async with running(script) as server, make(session, server.url).post("/x", BODY, request_id="r") as reply:
        gate.set()
        with pytest.raises(BackendError) as caught:
            await reply.read()
    assert (caught.value.status, caught.value.code) == (502, "backend_disconnected")


async def test_a_post_that_meets_a_closing_connection_is_not_sent_again(session: aiohttp.ClientSession) -> None:
    async def script(exchange: Exchange) -> None:
        if len(server.exchanges) == 1:
            await exchange.answer(b"{}")
        else:
            exchange.writer.close()

    async with running(script) as server:
        backend = make(session, server.url)
        await ask(backend)
        error = await failure_of(backend)
        assert (error.code, len(server.exchanges)) == ("backend_disconnected", 2)


async def test_after_a_failure_the_next_request_works_on_a_new_connection(session: aiohttp.ClientSession) -> None:
    async def script(exchange: Exchange) -> None:
        if len(server.exchanges) == 1:
            await reset_in_body(exchange)
        else:
            await exchange.answer(b"{}")

    async with running(script) as server:
        backend = make(session, server.url)
        await failure_of(backend)
        assert (await ask(backend))[1] == b"{}"
        assert server.connections == 2


async def test_the_identity_coding_is_no_compression(session: aiohttp.ClientSession) -> None:
    async def script(exchange: Exchange) -> None:
        await exchange.answer(b"{}", headers=("Content-Encoding: Identity",))

    async with running(script) as server:
        assert (await ask(make(session, server.url)))[1] == b"{}"


@pytest.mark.parametrize("framing", ["length", "chunked"])
async def test_an_answer_may_be_as_long_as_the_limit_and_no_longer(session: aiohttp.ClientSession, framing: str) -> None:
    limit = 1000

    async def script(exchange: Exchange) -> None:
        size = limit + len(server.exchanges) - 1
        if framing == "length":
            await exchange.answer(b"x" * size)
        else:
            await exchange.begin_stream()
            await exchange.send_piece(b"x" * (size // 2))
            await exchange.send_piece(b"x" * (size - size // 2))
            await exchange.send(b"0\r\n\r\n")

    async with running(script) as server:
        backend = make(session, server.url, response_limit=limit)
        assert (await ask(backend))[1] == b"x" * limit
        error = await failure_of(backend)
    assert (error.status, error.code) == (502, "backend_response_too_large")


async def test_an_answer_announced_too_long_is_refused_before_it_comes(session: aiohttp.ClientSession) -> None:
    async def script(exchange: Exchange) -> None:
        await exchange.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1001\r\n\r\n")
        await exchange.released.wait()

    async with running(script) as server:
        error = await failure_of(make(session, server.url, response_limit=1000))
    assert error.code == "backend_response_too_large"


async def test_an_endless_answer_is_given_up_at_the_limit(session: aiohttp.ClientSession) -> None:
    async def script(exchange: Exchange) -> None:
        await exchange.begin_stream()
        while True:
            await exchange.send_piece(b"x" * 4096)

    async with running(script) as server:
        error = await failure_of(make(session, server.url, response_limit=100_000))
        async with asyncio.timeout(1):
            await server.left.wait()
    assert error.code == "backend_response_too_large"


# ------------------------------------------------------------------------------------------- refusals of the backend


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (
            400,
            {"error": {"message": PROMPT, "type": "invalid_request_error", "param": "messages[0].content", "code": "bad"}},
            ("the backend refused the request with status 400", "bad", "invalid_request_error", "messages[0].content"),
        ),
        (
            422,
            {"status": 422, "code": "parameter_not_supported", "detail": {"input": PROMPT}},
            ("the backend refused the request with status 422", "parameter_not_supported", None, None),
        ),
        (
            400,
            {"code": "content_filter", "error": PROMPT, "message": PROMPT, "param": "messages"},
            ("the backend refused the request with status 400", "content_filter", None, "messages"),
        ),
        (
            500,
            {"error": {"message": PROMPT, "type": PROMPT, "param": [PROMPT], "code": 500}},
            ("the backend failed with status 500", "backend_error", None, None),
        ),
        (
            503,
            {"error": {"code": "x" * 129, "type": "", "param": "a\n"}},
            ("the backend failed with status 503", "backend_error", None, None),
        ),
        (401, [PROMPT], ("the backend refused the request with status 401", "backend_error", None, None)),
    ],
)
async def test_a_refusal_keeps_its_status_and_words_but_no_text(
    session: aiohttp.ClientSession, status: int, body: object, expected: tuple[str, str, str | None, str | None]
) -> None:
    async def script(exchange: Exchange) -> None:
        await exchange.answer(json.dumps(body).encode(), status=f"{status} {PROMPT}")

    async with running(script) as server:
        error = await failure_of(make(session, server.url))
    assert error.status == status
    assert (error.message, error.code, error.error_type, error.param) == expected


@pytest.mark.parametrize(
    "body",
    [b"<html>" + PROMPT.encode(), b"", b"\xff", b'{"code": "bad"}' + b" " * 2**17, b"[" * 50_000],
    ids=["html", "empty", "no UTF-8", "too long", "too deep"],
)
async def test_an_error_body_that_cannot_be_read_gives_no_code(session: aiohttp.ClientSession, body: bytes) -> None:
    async def script(exchange: Exchange) -> None:
        await exchange.answer(body, status="429 Too Many Requests")

    async with running(script) as server:
        error = await failure_of(make(session, server.url))
    assert (error.status, error.code) == (429, "backend_error")


async def test_a_compressed_error_body_is_not_unpacked(session: aiohttp.ClientSession) -> None:
    async def script(exchange: Exchange) -> None:
        body = gzip.compress(b'{"code": "bad"}')
        await exchange.answer(body, status="400 Bad Request", headers=("Content-Encoding: gzip",))

    async with running(script) as server:
        error = await failure_of(make(session, server.url))
    assert (error.status, error.code) == (400, "backend_error")


@pytest.mark.parametrize("then", ["hang", "break off"])
async def test_an_error_body_that_does_not_come_gives_no_code(session: aiohttp.ClientSession, then: str) -> None:
    async def script(exchange: Exchange) -> None:
        await exchange.send(b'HTTP/1.1 500 Oops\r\nContent-Length: 100\r\n\r\n{"code": "bad"}')
        if then == "hang":
            await exchange.released.wait()
        else:
            exchange.reset()

    async with running(script) as server:
        error = await failure_of(make(session, server.url, idle=SOON if then == "hang" else LATE))
    assert (error.status, error.code) == (500, "backend_error")


@pytest.mark.parametrize(
    ("value", "expected"),
    [("0", 0), ("7", 7), ("86400", 86400), ("86401", None), ("1.5", None), ("-1", None), ("999999", None), ("soon", None)],
)
async def test_retry_after_is_kept_if_it_is_at_most_a_day_of_seconds(
    session: aiohttp.ClientSession, value: str, expected: int | None
) -> None:
    async def script(exchange: Exchange) -> None:
        await exchange.answer(b"{}", status="429 Too Many Requests", headers=(f"Retry-After: {value}",))

    async with running(script) as server:
        error = await failure_of(make(session, server.url))
    assert error.retry_after == expected


async def test_nothing_printed_of_a_backend_shows_its_key_or_address(session: aiohttp.ClientSession) -> None:
    shown = repr(make(session, "http://model.internal", headers={"x-key": KEY}, query={"key": KEY}))
    assert KEY not in shown
    assert "model.internal" not in shown
