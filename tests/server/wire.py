"""What backends send and what clients read, in short."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

import aiohttp

Event = dict[str, Any]

SAFE = "The Moon is on average 384,400 kilometres away. " * 12
CHAT = "/v1/chat/completions"


def asks(text: str = "hello", **more: object) -> Event:
    return {"model": "m", "messages": [{"role": "user", "content": text}], **more}


def event(delta: Mapping[str, object], finish: str | None = None, index: int = 0, **more: object) -> Event:
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "m",
        "choices": [{"index": index, "delta": dict(delta), "logprobs": None, "finish_reason": finish}],
        **more,
    }


def words(text: str, index: int = 0, size: int = 4, key: str = "content") -> list[Event]:
    """A streamed choice: the role, *text* in pieces, the finish."""
    pieces = [text[i : i + size] for i in range(0, len(text), size)]
    return [
        event({"role": "assistant", "content": ""}, index=index),
        *(event({key: piece}, index=index) for piece in pieces),
        event({}, "stop", index=index),
    ]


def whole(*texts: str | None, **more: object) -> Event:
    """A whole answer."""
    choices = [
        {"index": i, "message": {"role": "assistant", "content": text}, "logprobs": None, "finish_reason": "stop"}
        for i, text in enumerate(texts)
    ]
    usage = {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}
    return {
        "id": "cmp-1",
        "object": "chat.completion",
        "created": 1,
        "model": "m",
        "choices": choices,
        "usage": usage,
        **more,
    }


def received(body: bytes) -> list[Event]:
    """The events of a stream as the strictest client reads them; it ends with [DONE] and holds nothing else."""
    lines = body.decode().split("\n")
    assert lines[-3:] == ["data: [DONE]", "", ""]
    assert all(line.startswith("data: ") for line in lines[:-2:2])
    assert not any(lines[1:-2:2])
    return [json.loads(line.removeprefix("data: ")) for line in lines[:-3:2]]


def plain(events: Iterable[Event]) -> list[Event]:
    """Without our annotations."""
    stripped = json.loads(json.dumps(list(events)))
    for each in stripped:
        each.pop("prompt_filter_results", None)
        for choice in each.get("choices", ()):
            choice.pop("content_filter_results", None)
    return stripped  # type: ignore[no-any-return]  # made of events


def content(events: Iterable[Event], index: int = 0, key: str = "content") -> str:
    return "".join(
        choice["delta"].get(key) or "" for each in events for choice in each["choices"] if choice["index"] == index
    )


def finishes(events: Iterable[Event]) -> dict[int, list[str]]:
    """Each choice's finish reasons."""
    told: dict[int, list[str]] = {}
    for each in events:
        for choice in each["choices"]:
            if choice.get("finish_reason") is not None:  # LiteLLM's proxy leaves it out where it is null
                told.setdefault(choice["index"], []).append(choice["finish_reason"])
    return told


async def post(http: aiohttp.ClientSession, url: str, body: object, path: str = CHAT, **headers: str) -> tuple[int, bytes]:
    async with http.post(url + path, json=body, headers=headers) as response:
        return response.status, await response.read()


async def stream(http: aiohttp.ClientSession, url: str, **more: object) -> list[Event]:
    status, body = await post(http, url, {**asks(stream=True), **more})
    assert status == 200, body
    return received(body)
