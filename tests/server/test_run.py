"""The server as a process: it says where it listens, drains when told to stop, and ends with 0."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest

from safety_proxy.testing import Answer, FakeBackend
from tests.server.wire import SAFE, asks, finishes, received, words


async def logged(process: asyncio.subprocess.Process, name: str) -> dict[str, Any]:
    """The next event of this name that the process logs."""
    assert process.stderr is not None
    async for line in process.stderr:
        event: dict[str, Any] = json.loads(line)
        if event["event"] == name:
            return event
    raise AssertionError(f"no {name}")


@asynccontextmanager
async def serving(backend: FakeBackend, *flags: str) -> AsyncIterator[tuple[asyncio.subprocess.Process, str]]:
    command = ["-m", "safety_proxy", "serve", "--backend", backend.url, "--port", "0", "--log-format", "json", *flags]
    process = await asyncio.create_subprocess_exec(sys.executable, *command, stderr=asyncio.subprocess.PIPE)
    try:
        async with asyncio.timeout(30):
            started = await logged(process, "server.started")
        yield process, f"http://127.0.0.1:{started['port']}"
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_told_to_stop_it_finishes_open_streams_and_ends_with_zero(
    backend: FakeBackend, http: aiohttp.ClientSession, number: signal.Signals
) -> None:
    gate = asyncio.Event()
    pieces = Answer.stream(*words(SAFE[:48])).pieces
    backend.answer = Answer([*pieces[:4], gate, *pieces[4:]])
    async with serving(backend) as (process, url), asyncio.timeout(30):
        async with http.post(f"{url}/v1/chat/completions", json=asks("How far is the Moon?", stream=True)) as response:
            process.send_signal(number)
            await logged(process, "server.draining")
            gate.set()
            assert finishes(received(await response.read())) == {0: ["stop"]}
        assert await process.wait() == 0


async def test_several_workers_share_one_address(backend: FakeBackend, http: aiohttp.ClientSession) -> None:
    async with serving(backend, "--workers", "2") as (process, url), asyncio.timeout(30):
        async with http.get(f"{url}/healthz") as response:
            assert response.status == 200
        process.send_signal(signal.SIGTERM)
        assert await process.wait() == 0
