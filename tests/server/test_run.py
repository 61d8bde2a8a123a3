"""The server as a process: it says where it listens, drains when told to stop, and ends with 0."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from safety_proxy.testing import Answer, FakeBackend
from tests.server.wire import SAFE, asks, finishes, received, whole, words


async def logged(process: asyncio.subprocess.Process, name: str) -> dict[str, Any]:
    """The next event of this name that the process logs."""
    assert process.stderr is not None
    async for line in process.stderr:
        event: dict[str, Any] = json.loads(line)
        if event["event"] == name:
            return event
    raise AssertionError(f"no {name}")


@asynccontextmanager
async def launched(backend: FakeBackend, *flags: str) -> AsyncIterator[asyncio.subprocess.Process]:
    command = ["-m", "safety_proxy", "serve", "--backend", backend.url, "--port", "0", "--log-format", "json", *flags]
    process = await asyncio.create_subprocess_exec(sys.executable, *command, stderr=asyncio.subprocess.PIPE)
    try:
        yield process
    finally:
        if process.returncode is None:
            process.terminate()  # not kill: that would leave its workers behind
        await process.communicate()


@asynccontextmanager
async def serving(backend: FakeBackend, *flags: str) -> AsyncIterator[tuple[asyncio.subprocess.Process, str]]:
    async with launched(backend, *flags) as process:
        async with asyncio.timeout(30):
            started = await logged(process, "server.started")
        yield process, f"http://127.0.0.1:{started['port']}"


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


@contextmanager
def stopped(pid: int) -> Iterator[None]:
    """A process that does nothing for the time being, so that another one answers."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


async def ask_once(url: str) -> tuple[int, str]:
    """What is left of the quota, and the metrics, as told on a connection of its own."""
    async with aiohttp.ClientSession() as http:
        async with http.post(f"{url}/v1/chat/completions", json=asks("How far is the Moon?")) as response:
            assert response.status == 200
            left = int(response.headers["x-ratelimit-remaining-requests"])
        async with http.get(f"{url}/metrics") as response:
            return left, await response.text()


async def test_workers_share_the_quota_and_add_up_their_counters(backend: FakeBackend, tmp_path: Path) -> None:
    """Two workers are asked in turn: what is left falls by one each time, and each shows all that was counted."""
    backend.answer = Answer.json(whole("Hi"))
    file = tmp_path / "proxy.yaml"
    file.write_text(
        "backends: {one: {url: 'http://replaced'}}\ndeployments: {m: {backend: one, limits: azure}}\ndefault_deployment: m\n"
    )
    async with launched(backend, "--workers", "2", "--config", str(file)) as process, asyncio.timeout(50):
        workers = [await logged(process, "server.started") for _ in range(2)]
        url = f"http://127.0.0.1:{workers[0]['port']}"
        asked, minute = 0, -1.0
        told: list[tuple[int, str]] = []
        while minute != time.time() // 60:  # once more, should a minute end meanwhile
            minute = time.time() // 60
            told.clear()
            for other in (*workers, *workers):
                with stopped(other["pid"]):
                    told.append(await ask_once(url))
                asked += 1

    first = told[0][0]
    assert [left for left, _ in told] == [first, first - 1, first - 2, first - 3]
    counted = [re.search(r'safety_proxy_tokens_total{.*kind="completion"} (.*)', text) for _, text in told]
    assert [float(found[1]) for found in counted if found] == [2 * n for n in range(asked - 3, asked + 1)]
