"""The requests of the source document's examples: `curl` and `requests`.

They send the key as it is (no ``Bearer``), ``"stream": "True"`` as a string, no model, and follow redirects.
"""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import Awaitable, Callable, Iterable
from hashlib import sha256
from typing import Any

import pytest
import requests

from safety_proxy.testing import Answer, FakeBackend
from tests.clients.situations import SYSTEM, TRANSLATE, Seen, Situation
from tests.server.conftest import HARM, Serve
from tests.server.wire import SAFE

KEY = "your-auth-key"
HEADERS = {"Content-Type": "application/json", "Authorization": KEY}
Body = dict[str, Any]
Drive = Callable[[str, Body], Awaitable[tuple[int, list[str]]]]
"""Posts a body to a URL; gives the status and the lines of the answer that are not empty."""


def admit(key: str) -> str:
    return f"keys: [{{name: team, sha256: {sha256(key.encode()).hexdigest()}}}]\n"


def example(asks: str, *, streamed: bool = False) -> Body:
    messages = [{"content": SYSTEM, "role": "system"}, {"content": asks, "role": "user"}]
    return {"messages": messages, "max_tokens": 512, "temperature": 0.8, **({"stream": "True"} if streamed else {})}


async def by_requests(url: str, body: Body) -> tuple[int, list[str]]:
    def run() -> tuple[int, list[str]]:
        with (
            requests.Session() as session,
            session.post(url, data=json.dumps(body), headers=HEADERS, stream=True, timeout=10) as response,
        ):
            return response.status_code, [line.decode() for line in response.iter_lines() if line]

    return await asyncio.to_thread(run)


async def by_curl(url: str, body: Body) -> tuple[int, list[str]]:
    curl = shutil.which("curl")
    assert curl is not None, "curl is not installed (Debian, Ubuntu: apt-get install curl)"
    headers = [part for name, value in HEADERS.items() for part in ("-H", f"{name}: {value}")]
    command = [curl, "--silent", "--show-error", "--write-out", "\n%{http_code}"]
    process = await asyncio.create_subprocess_exec(
        *command, "-X", "POST", "-L", url, *headers, "-d", json.dumps(body), stdout=asyncio.subprocess.PIPE
    )
    out, _ = await process.communicate()
    assert process.returncode == 0
    *lines, status = [line for line in out.decode().split("\n") if line]
    return int(status), lines


def seen_in(status: int, lines: list[str], *, streamed: bool) -> Seen:
    if status != 200:
        [body] = lines
        return Seen(status=status, code=json.loads(body)["error"]["code"])
    if streamed:
        *events, done = [line.removeprefix("data: ") for line in lines]
        assert done == "[DONE]"
        return joined(choice for event in events for choice in json.loads(event)["choices"])
    [body] = lines
    return joined(json.loads(body)["choices"])


def joined(choices: Iterable[Body]) -> Seen:
    parts = list(choices)
    text = "".join((part.get("delta") or part.get("message") or part).get("content") or "" for part in parts)
    [finish] = [part["finish_reason"] for part in parts if part["finish_reason"] is not None]
    return Seen(text, finish)


DRIVES = [by_requests, pytest.param(by_curl, marks=pytest.mark.slow)]
"""Curl may not be there; the slow tests demand it."""


@pytest.mark.parametrize("drive", DRIVES)
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/chat/completions"])
async def test_the_examples_in_every_situation(
    serve: Serve, model: FakeBackend, situation: Situation, drive: Drive, path: str
) -> None:
    async with serve(model, config=admit(KEY)) as url:
        status, lines = await drive(url + path, example(situation.asks, streamed=situation.streamed))

    situation.check(seen_in(status, lines, streamed=situation.streamed))
    assert [asked.body.get("stream", False) for asked in model.requests] in ([], [situation.streamed])
    assert all("model" not in asked.body and "authorization" not in asked.headers for asked in model.requests)


@pytest.mark.parametrize("drive", DRIVES)
async def test_a_blocked_prompt_says_why(serve: Serve, model: FakeBackend, drive: Drive) -> None:
    async with serve(model) as url:
        status, [body] = await drive(f"{url}/v1/chat/completions", example(HARM))

    assert status == 400
    error = json.loads(body)["error"]
    assert error["innererror"]["code"] == "ResponsibleAIPolicyViolation"
    assert error["innererror"]["content_filter_result"]["violence"] == {"filtered": True, "severity": "high"}


@pytest.mark.parametrize("drive", DRIVES)
@pytest.mark.parametrize(
    ("says", "text", "finish"), [(SAFE, SAFE, "stop"), (f"The Moon. {HARM}. It is far.", "", "content_filter")]
)
async def test_the_text_completion_of_the_examples(
    serve: Serve, backend: FakeBackend, drive: Drive, says: str, text: str, finish: str
) -> None:
    choice: Body = {"index": 0, "text": says, "logprobs": None, "finish_reason": "stop"}
    backend.answer = Answer.json({"id": "c", "object": "text_completion", "created": 217877, "choices": [choice]})
    async with serve(backend) as url:
        status, [body] = await drive(f"{url}/v1/completions", {"prompt": "Math is a", "max_tokens": 30, "temperature": 0.7})

    assert status == 200
    [answered] = json.loads(body)["choices"]
    assert (answered["text"], answered["finish_reason"]) == (text, finish)


@pytest.mark.parametrize("drive", DRIVES)
async def test_a_wrong_key_is_refused_before_anybody_is_asked(serve: Serve, model: FakeBackend, drive: Drive) -> None:
    async with serve(model, config=admit("another")) as url:
        status, _ = await drive(f"{url}/v1/chat/completions", example(TRANSLATE))

    assert status == 401
    assert model.requests == []
