"""The filtering service as its operator runs it: processes that share a store, and that may be killed at any moment."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest

LIST = "/contentsafety/text/blocklists/house"
ACKNOWLEDGED = 500
"""Of a thousand updates this many are let through before the server is killed."""


class Running:
    """A real server, with all its processes in a group of their own."""

    def __init__(self, process: asyncio.subprocess.Process, url: str) -> None:
        self.process, self.url = process, url

    async def kill(self) -> None:
        os.killpg(self.process.pid, signal.SIGKILL)
        await self.process.communicate()


@asynccontextmanager
async def served(folder: Path, *arguments: str) -> AsyncIterator[Running]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "safety_proxy", "serve", "--filter-only", "--port", "0", *arguments),
        cwd=folder,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,
    )
    assert process.stderr is not None
    told = json.loads(await process.stderr.readline())
    running = Running(process, f"http://{told['host']}:{told['port']}")
    try:
        yield running
    finally:
        if process.returncode is None:
            await running.kill()


async def add(http: aiohttp.ClientSession, url: str, text: str) -> str:
    """Put one item on the list; its id, once that is acknowledged."""
    body = {"blocklistItems": [{"text": text}]}
    async with http.post(f"{url}{LIST}:addOrUpdateBlocklistItems", json=body) as answer:
        assert answer.status == 200, await answer.text()
        return str((await answer.json())["blocklistItems"][0]["blocklistItemId"])


async def items(http: aiohttp.ClientSession, url: str) -> dict[str, str]:
    """All items of the list, page by page."""
    found: dict[str, str] = {}
    following: str | None = f"{url}{LIST}/blocklistItems?maxpagesize=100"
    while following:
        async with http.get(following) as answer:
            page = await answer.json()
        found |= {item["blocklistItemId"]: item["text"] for item in page["value"]}
        following = page.get("nextLink")
    return found


@pytest.mark.slow
async def test_what_was_acknowledged_survives_a_kill_in_the_middle_of_a_thousand_updates(
    tmp_path: Path, http: aiohttp.ClientSession
) -> None:
    acknowledged: dict[str, str] = {}
    enough = asyncio.Event()

    async def update(url: str, worker: int) -> None:
        for number in range(worker, 1000, 8):
            acknowledged[await add(http, url, f"word {number}")] = f"word {number}"
            if len(acknowledged) >= ACKNOWLEDGED:
                enough.set()

    async with served(tmp_path) as running:
        async with http.patch(f"{running.url}{LIST}", json={}) as answer:
            assert answer.status == 201
        updates = [asyncio.create_task(update(running.url, worker)) for worker in range(8)]
        await enough.wait()
        await running.kill()
        ends = await asyncio.gather(*updates, return_exceptions=True)
    assert all(isinstance(end, aiohttp.ClientError) for end in ends)
    assert ACKNOWLEDGED <= len(acknowledged) < 1000

    async with served(tmp_path) as again:
        found = await items(http, again.url)
        assert await add(http, again.url, "word after all") not in found
    assert {key: found.get(key) for key in acknowledged} == acknowledged
    assert set(found.values()) - set(acknowledged.values()) <= {f"word {number}" for number in range(1000)}


@pytest.mark.slow
async def test_workers_share_the_store_and_each_sees_what_another_has_acknowledged(
    tmp_path: Path,
) -> None:
    async with served(tmp_path, "--workers", "2") as running:
        for number in range(40):  # each over a connection of its own, so by either worker
            async with aiohttp.ClientSession() as one, aiohttp.ClientSession() as other:
                async with one.patch(f"{running.url}{LIST}", json={}) as answer:
                    assert answer.status in {200, 201}
                word = f"codename {number}"
                item = await add(one, running.url, word)
                body = {"text": f"about {word.upper()}, in confidence", "blocklistNames": ["house"]}
                async with other.post(f"{running.url}/contentsafety/text:analyze", json=body) as answer:
                    found = await answer.json()
                assert [match["blocklistItemId"] for match in found["blocklistsMatch"]] == [item]
